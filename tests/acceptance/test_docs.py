"""README and docs: every example runs and shows what it shows, every link leads somewhere, references are current.

How a page says what is to be done with a block (in an HTML comment, which readers do not see):

    <!-- not run: needs conda -->      before a block: not executed, with the reason
    <!-- file: configs/a.yml -->       before a block: written to that file instead of being executed
    <!-- run                           executed like a bash block, but not shown
    rfsched setup ws
    -->

The blocks of a page run in their order, in one shell, in an empty directory of their own. A `bash` block must succeed.
In a `console` block the lines after `$ ` are commands and the others their output; a command may fail only if the next
one is `echo $?`. Of the output, times and the like are not compared, `…` stands for anything, and lines may be left out
where a line is only `…`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.tmux_fixtures import Server
from tests.workspaces import RFSCHED

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PAGE_S = 100

# Pages as steps -------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """One command, or one block of a script, and what it must print (None = anything)."""

    line: int
    command: str
    shown: list[str] | None = None
    may_fail: bool = False


@dataclass
class Page:
    """The steps of a page, and the texts that are only looked at."""

    steps: list[Step] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A fenced block or a `<!-- run -->` comment."""

    line: int
    language: str
    lines: list[str]
    note: str


FENCE = re.compile(r"^( *)```(\w*)\s*$")
COMMENT = re.compile(r"<!-- (not run|file): (.+?) -->")


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page; `note` is the comment line directly before one."""
    lines = iter(enumerate(text.splitlines(), 1))
    note = ""
    for number, line in lines:
        fence = FENCE.match(line)
        if fence:
            indent = len(fence[1])
            body = [each[indent:] for each in _until(lines, "```")]
            yield Block(number, fence[2], body, note)
            note = ""
        elif line.strip() == "<!-- run":
            yield Block(number, "bash", list(_until(lines, "-->")), "")
        elif line.strip():
            note = line.strip() if COMMENT.match(line.strip()) else ""


def _until(lines: Iterator[tuple[int, str]], end: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == end:
            return
        yield line
    raise AssertionError(f"a block has no {end}")


def read(text: str) -> Page:
    """What is to be executed of a page."""
    page = Page()
    for block in blocks(text):
        note = COMMENT.match(block.note)
        body = "\n".join(block.lines)
        if note and note[1] == "not run":
            page.reasons.append(note[2])
        elif note:
            page.steps.append(Step(block.line, _heredoc(note[2], body)))
        elif block.language == "bash":
            page.steps.append(Step(block.line, body))
        elif block.language == "python":
            page.steps.append(Step(block.line, f"python - <<'END_OF_BLOCK'\n{body}\nEND_OF_BLOCK"))
        elif block.language == "console":
            page.steps += console(block)
    return page


def _heredoc(name: str, body: str) -> str:
    return f"mkdir -p \"$(dirname '{name}')\"\ncat > '{name}' <<'END_OF_BLOCK'\n{body}\nEND_OF_BLOCK"


def console(block: Block) -> Iterator[Step]:
    """The commands of a console block with the output shown for each."""
    steps: list[Step] = []
    for number, line in enumerate(block.lines, block.line + 1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:], shown=[]))
        elif steps and not steps[-1].shown and steps[-1].command.endswith("\\"):
            steps[-1].command += "\n" + line.removeprefix("> ")
        else:
            assert steps, f"line {number}: output before the first command"
            assert steps[-1].shown is not None
            steps[-1].shown.append(line)
    for step, after in pairwise(steps):
        step.may_fail = after.command.startswith("echo $?")
    yield from steps


# Comparing ------------------------------------------------------------------------------------------------------------

VARYING = (
    (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
    (r"\b[A-Z][a-z]{2} \d\d \d\d:\d\d\b", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b(\d+:\d\d (min|h)|\d+(\.\d+)? s|starting)(?!\w)", "SPAN"),
    (r"\bpid \d+", "pid N"),
    (r"\d+(\.\d+)? ?%", "PERCENT"),
    (r"\d+ °C", "DEGREES"),
)


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, word in VARYING:
        line = re.sub(pattern, word, line)
    return " ".join(line.split())


def missing(shown: list[str], printed: list[str]) -> str | None:
    """The first line shown that was not printed where it should be; None = all were."""
    found = [plain(line) for line in printed if line.strip()]
    place, anywhere = 0, False
    for line in shown:
        wanted = plain(line)
        if wanted in ("…", "..."):
            anywhere = True
        elif wanted:
            pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
            at = next((n for n in range(place, len(found)) if pattern.fullmatch(found[n])), None)
            if at is None or (at > place and not anywhere):
                return line
            place, anywhere = at + 1, False
    return None


# Running --------------------------------------------------------------------------------------------------------------


class Sandbox:
    """A home, a tmux socket and a lease directory of their own, gone at the end with all that runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.out = folder / "out"
        places = {"HOME": "home", "TMUX_TMPDIR": "tmux", "RFSCHED_LEASE_DIR": "leases"}
        for name in (*places.values(), "out"):
            (folder / name).mkdir(mode=0o700)
        self.env = {
            **os.environ,
            **{variable: str(folder / name) for variable, name in places.items()},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PS1": "$ ",
            "COLUMNS": "100",
            "USER": "you",
            "LOGNAME": "you",
            "LC_ALL": "C.UTF-8",
        }

    def run(self, steps: list[Step]) -> list[tuple[int, str]]:
        """Exit code and output of each step; a step that was not reached has the code -1."""
        script = ["shopt -s expand_aliases", "rf_rc=0"]
        for number, step in enumerate(steps):
            script += [
                f"{{ (exit $rf_rc)\n{step.command}\n}} > {self.out}/{number} 2>&1 < /dev/null",
                f"rf_rc=$?; echo $rf_rc > {self.out}/{number}.code",
            ]
        path = self.folder / "page.sh"
        path.write_text("\n".join(script) + "\n")
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["bash", "--noprofile", "--norc", str(path)],
                cwd=self.home,
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PAGE_S,
                check=False,
            )
        return [self._result(number) for number in range(len(steps))]

    def _result(self, number: int) -> tuple[int, str]:
        code, output = self.out / f"{number}.code", self.out / str(number)
        text = output.read_text(errors="replace") if output.exists() else ""
        text = text.replace(str(self.home), "/home/you")
        return (int(code.read_text()), text) if code.exists() else (-1, text)

    def close(self) -> None:
        """End everything that was started here."""
        for config in self.home.rglob("scheduler_config.yml"):
            with suppress(subprocess.TimeoutExpired):
                command = [RFSCHED, "-w", str(config.parent), "kill-all", "--yes"]
                subprocess.run(command, env=self.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
        for socket in (self.folder / "tmux").rglob("*"):
            if socket.is_socket():
                server = Server(self.folder)
                server.socket = str(socket)
                server.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An empty world for one page."""
    with tempfile.TemporaryDirectory(prefix="rfd-", dir="/tmp") as folder:
        made = Sandbox(Path(folder))
        try:
            yield made
        finally:
            made.close()


def failure(page: Path, steps: list[Step], results: list[tuple[int, str]]) -> str | None:
    """What is wrong with the first step that did not go as the page says."""
    for step, (code, output) in zip(steps, results, strict=True):
        place = f"{page.relative_to(ROOT)}:{step.line}: $ {step.command}\n"
        if code == -1:
            return f"{place}did not end within {PAGE_S} s of the page's beginning\n{output}"
        if code != 0 and not step.may_fail:
            return f"{place}ended with {code}\n{output}"
        line = None if step.shown is None else missing(step.shown, output.splitlines())
        if line is not None:
            return f"{place}the page shows:\n{line}\nbut it printed:\n{output}"
    return None


def with_examples() -> list[Path]:
    """The pages that have something to execute."""
    return [page for page in PAGES if read(page.read_text(encoding="utf-8")).steps]


@pytest.mark.tmux
@pytest.mark.parametrize("page", with_examples(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run_and_show_what_it_says(page: Path, sandbox: Sandbox) -> None:
    steps = read(page.read_text(encoding="utf-8")).steps
    wrong = failure(page, steps, sandbox.run(steps))
    assert wrong is None, wrong


# Links and references -------------------------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
HIDDEN = re.compile(r"<!--.*?-->", re.DOTALL)
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link} has no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link]
    assert set(PAGES) <= seen, f"nothing leads to {sorted(str(p.relative_to(ROOT)) for p in set(PAGES) - seen)}"


def test_generated_references_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_says_what_it_is_for_in_lines_that_fit(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("# "), "the first line is the title"
    first = next((line for line in lines[1:] if line.strip() and not line.startswith("<!--")), "")
    assert first[:1] not in {"", *"#|-"}, f"the first line after the title does not say what the page is for: {first}"
    shown = HIDDEN.sub("", FENCED.sub("", text)).splitlines()
    long = [line for line in shown if len(line) > 120 and not line.startswith("|")]
    assert not long, f"longer than 120: {long}"
