"""Templates of names, folders and commands: which words they may hold, and how they are filled."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

from researchflow_tmux.adapters.command_shell import QUOTED, is_plain
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.sources.sweeps.nodes import suggestion
from researchflow_tmux.adapters.yaml_nodes import Entry
from researchflow_tmux.domain.names import short_hash
from researchflow_tmux.domain.sweeps import Variable

WORD = re.compile(r"(?<![$\\])\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
NAME_WORDS = ("sweep",)
COMMAND_WORDS = ("python", "script", "output_dir", "folder", "name", "sweep")
UNDERSCORE = "underscore"
LONGEST = 100

_NOT_IN_FOLDERS = re.compile(r"[^\w.=+,@%-]")


def words_of(variables: Iterable[str]) -> list[str]:
    """What stands for the variables in a template."""
    return [word for name in variables for word in (name, f"{name}.nick")]


def check(reader: Reader, entry: Entry, template: str, known: Iterable[str], missing: Mapping[str, str]) -> None:
    """Note the words that stand for nothing. `missing` = words that stand for something elsewhere, and why not here."""
    for word in dict.fromkeys(WORD.findall(template)):
        if word in missing:
            reader.fail(entry, f"{{{word}}} stands for nothing here: {missing[word]}")
        elif word not in known:
            hint = suggestion(word, known) or "there are no variables"
            reader.fail(entry, f"there is no variable `{word}` for {{{word}}}", hint)


def among_text(command: str) -> list[str]:
    """The words inside quotes together with other text, in a line that only a shell can read."""
    if is_plain(WORD.sub("x", command)):
        return []
    inside = [quoted[1:-1] for quoted in QUOTED.findall(command) if quoted[0] in "'\""]
    return [word for text in inside if not WORD.fullmatch(text) and "$(" not in text for word in WORD.findall(text)]


def check_quotes(reader: Reader, entry: Entry, command: str, variables: Iterable[Variable]) -> None:
    """A value that is quoted for the shell must not stand inside quotes: there its own would be text."""
    among = among_text(command)
    for variable in variables if among else ():
        texts = {f"{variable.name}.nick": [choice.nick for choice in variable.choices]}
        texts[variable.name] = [choice.text for choice in variable.choices]
        for word in texts:
            special = [text for text in texts[word] if shlex.quote(text) != text]
            if word in among and special:
                message = (
                    f"{{{word}}} stands among other text inside quotes, and {special[0]!r} brings quotes of its own"
                )
                reader.fail(entry, message, f'close them before it, and open them again after it: "a "{{{word}}}" b"')


def check_layout(reader: Reader, entry: Entry, layout: str) -> None:
    """A layout is a path below output_dir."""
    if any(part in ("", ".", "..") for part in layout.split("/")):
        reader.fail(entry, f"layout: expected folders below output_dir, got {layout!r}", "such as `{model}/{seed}`")


def layout_of(given: str | None, variables: Iterable[str]) -> str:
    """The template of the folders: as given, or all variables below the sweep's own folder."""
    if given not in (None, UNDERSCORE):
        return given
    return "{sweep}/" + ("_" if given else "/").join(f"{{{name}}}" for name in variables)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its words replaced."""
    return WORD.sub(lambda match: values.get(match[1], match[0]), template)


def folder(layout: str, values: Mapping[str, str]) -> str:
    """The folder of one combination, relative to output_dir. What a value holds makes no further folders."""
    return "/".join(_segment(fill(part, values)) for part in layout.split("/"))


def name(template: str, values: Mapping[str, str]) -> str:
    """The name of one combination."""
    filled = fill(template, values).replace("/", "_").strip()
    return "".join(char if char.isprintable() else "_" for char in filled) or "job"


def _segment(text: str) -> str:
    safe = _NOT_IN_FOLDERS.sub("_", text)
    if safe.startswith("."):
        safe = "_" + safe[1:]
    if safe == text and len(safe.encode()) <= LONGEST:
        return safe or "_"
    # Two values that are cleaned to one word stay two folders.
    return f"{safe.encode()[:LONGEST].decode(errors='ignore')}_{short_hash(text)}"
