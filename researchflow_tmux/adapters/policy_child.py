"""A policy plug-in, loaded and asked: in a child process of the scheduler, or in a test.

As a file (`python -P policy_child.py NAME DIRECTORY SECONDS MIB`) it answers one JSON line per request line, on pipes.
It imports nothing of the package, because the plug-in may never return, may print, may eat memory and may take the
process with it: the parent then goes on without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import json
import math
import numbers
import os
import resource
import signal
import sys
import traceback
from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any

MOST_PARTS = 16
MOST_TEXT = 200
MOST_FILES = 200
ARGUMENTS = {"order": (2, 1), "admit": (2, 1), "on_event": (1,)}
"""How many each hook may take."""
WANTED = {"order": "order(job, facts)", "admit": "admit(job, facts)", "on_event": "on_event(event)"}
SEVERAL = " or ".join(WANTED.values())


class Unfit(Exception):  # noqa: N818 - it reads as the fact it states
    """The object is no policy, or what it returned is no answer; the message says what to do."""


# Loading --------------------------------------------------------------------------------------------------------------


def load(name: str, directory: str) -> Policy:
    """The policy of that name (`module:object` or `file.py:object`). Raises Unfit, and whatever its module raises."""
    place, _, attribute = name.rpartition(":")
    module = from_file(os.path.join(directory, place)) if place.endswith(".py") else importlib.import_module(place)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        known = [each for each in vars(module) if not each.startswith("_") and callable(getattr(module, each))]
        there = f"; it has {', '.join(known[:5])}" if known else ""
        raise Unfit(f"{getattr(module, '__file__', place)} has no {attribute}{there}") from None
    return Policy(found)


def from_file(path: str) -> Any:
    """The module of one file, under the name of the file."""
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise Unfit(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def files_of(name: str, directory: str) -> list[str]:
    """The files of the user's whose change may change the policy; those that should be there, too."""
    place = name.rpartition(":")[0]
    path = place if place.endswith(".py") else place.replace(".", os.sep) + ".py"
    found = {os.path.join(directory, path)}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(directory + os.sep) and "site-packages" not in file:
            found.add(file)
    return sorted(found)[:MOST_FILES]


def place_of(function: Any) -> str:
    """Where it is defined, for words."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}: "


def arguments_of(hook: str, function: Any) -> int:
    """With how many arguments a hook is called. Raises Unfit when it takes none of those it may be given."""
    if not callable(function):
        raise Unfit(f"its {hook} is no function: write {WANTED[hook]}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Unfit(f"{place_of(function)}its {hook} must be a plain function, without async and yield")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ARGUMENTS[hook][0]
    for number in ARGUMENTS[hook]:
        try:
            signature.bind(*[None] * number)
        except TypeError:
            continue
        return number
    raise Unfit(f"{place_of(function)}its {hook}{signature} cannot be called as {WANTED[hook]}")


# Asking ---------------------------------------------------------------------------------------------------------------


class Policy:
    """The hooks of one object, and what they said so far."""

    def __init__(self, target: Any) -> None:
        """Take an object with hooks, a class of one, or a function, which then is its `order`. Raises Unfit."""
        if inspect.isclass(target):
            try:
                inspect.signature(target).bind()
            except TypeError as error:
                raise Unfit(f"{target.__name__} is made without arguments: {error}") from None
            target = target()
        functions = {hook: getattr(target, hook, None) for hook in ARGUMENTS}
        if not any(functions.values()) and inspect.isroutine(target):
            functions["order"] = target
        if not any(functions.values()):
            raise Unfit(f"it has none of the hooks {SEVERAL}: define at least one")
        present = {hook: function for hook, function in functions.items() if function is not None}
        self.hooks = {hook: arguments_of(hook, function) for hook, function in present.items()}
        self._order: Callable[..., Any] = present.get("order", _nothing)
        self._admit: Callable[..., Any] = present.get("admit", _nothing)
        self._on_event: Callable[[Any], Any] = present.get("on_event", _nothing)
        self._makers: dict[str, Callable[..., Any]] = {}
        self._jobs: dict[int, Any] = {}
        self._keys: dict[int, list[float]] = {}
        self._refused: dict[int, str] = {}
        self.about = ""
        """Of which job it was asked last, for words."""

    def learn(self, fields: dict[str, list[str]]) -> None:
        """What the rows of later requests mean: names of the fields, by kind."""
        for kind, names in fields.items():
            row: Any = namedtuple(kind, names)  # type: ignore[misc]
            self._makers[kind] = row._make

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What is different now. Raises Unfit, and whatever the hooks raise."""
        self.about = ""
        anew = self._tell(request["events"]) if "on_event" in self.hooks else False
        for number in request["gone"]:
            for known in (self._jobs, self._keys, self._refused):
                known.pop(number, None)
        new = {row[0]: self._makers["Job"](row) for row in request["jobs"]}
        self._jobs.update(new)
        facts = self._facts(request["facts"])
        keys = self._ordered(self._some("order", new, anew=anew), facts)
        refused = self._admitted(self._some("admit", new, anew=anew), facts)
        return {"keys": keys, "refused": refused}

    def _tell(self, rows: Iterable[list[Any]]) -> bool:
        """Whether all must be asked anew."""
        said = [self._on_event(self._makers["Event"](row)) for row in rows]
        return any(answer is True for answer in said)

    def _facts(self, row: list[Any]) -> Any:
        facts = self._makers["Facts"](row)
        return facts._replace(
            gpus=tuple(map(self._makers["Gpu"], facts.gpus)), running=tuple(map(self._makers["Run"], facts.running))
        )

    def _some(self, hook: str, new: dict[int, Any], *, anew: bool) -> dict[int, Any]:
        """The jobs of which a hook is asked: what it said of the others still holds."""
        takes = self.hooks.get(hook, 0)
        return {} if not takes else self._jobs if takes > 1 or anew else new

    def _ordered(self, jobs: dict[int, Any], facts: Any) -> dict[int, list[float]]:
        more = (facts,) if self.hooks.get("order") == 2 else ()
        changed = {}
        for number, job in jobs.items():
            self.about = job.name
            key = key_of(self._order(job, *more))
            if self._keys.get(number) != key:
                self._keys[number] = changed[number] = key
        return changed

    def _admitted(self, jobs: dict[int, Any], facts: Any) -> dict[int, str | None]:
        more = (facts,) if self.hooks.get("admit") == 2 else ()
        changed: dict[int, str | None] = {}
        for number, job in jobs.items():
            self.about = job.name
            answer = self._admit(job, *more)
            if answer is True or (getattr(answer, "dtype", None) == "bool" and bool(answer)):  # NumPy's True, too
                if self._refused.pop(number, None) is not None:
                    changed[number] = None
                continue
            text = refusal(answer)
            if self._refused.get(number) != text:
                self._refused[number] = changed[number] = text
        return changed


def _nothing(*_arguments: Any) -> None:
    return None


def key_of(answer: Any) -> list[float]:
    """The key as a list of floats, which any two can be compared by."""
    parts = list(answer) if isinstance(answer, (tuple, list)) else [answer]
    good = 0 < len(parts) <= MOST_PARTS and all(isinstance(part, numbers.Real) for part in parts)
    key = [float(part) for part in parts] if good else []
    if not key or any(map(math.isnan, key)):
        raise Unfit(f"order returned {short(answer)}: return a number or a tuple of numbers, the smallest comes first")
    return [part if math.isfinite(part) else math.copysign(sys.float_info.max, part) for part in key]


def refusal(answer: Any) -> str:
    """Why a job is refused."""
    text = " ".join(answer.split()) if isinstance(answer, str) else ""
    if not text:
        raise Unfit(f"admit returned {short(answer)}: return True, or the reason why not as a text")
    return text[:MOST_TEXT]


def short(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def words(error: BaseException, directory: str, about: str = "") -> str:
    """The error in one line, with the place in the user's own file and the job it was about."""
    asked = f" (about the job {about})" if about else ""
    if isinstance(error, Unfit):
        return f"{error}{asked}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")]
    own = [frame for frame in theirs if frame.filename.startswith(directory + os.sep)] or theirs
    place = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    first = "".join(itertools.islice(str(error).splitlines(), 1))
    more = "; it may use so much memory and no more" if isinstance(error, MemoryError) else ""
    return f"{place}{type(error).__name__}: {first}{more}"[:500] + asked


# The process ----------------------------------------------------------------------------------------------------------


def main(name: str, directory: str, loading_s: str, most_mib: str) -> int:
    """Load the policy, then answer until the parent closes our stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the parent's terminal is the parent's affair
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # what the plug-in prints or asks for is nobody's
        os.dup2(nothing, fd)
    most = int(most_mib) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = True  # an edit within the same second would not be seen
    # A parent that was killed cannot kill us: the kernel's alarm does.
    signal.setitimer(signal.ITIMER_REAL, float(loading_s) + 1.0)
    policy: Policy | None = None
    told: dict[str, Any] = {}
    try:
        policy = load(name, directory)
        told["hooks"] = policy.hooks
    except BaseException as error:  # noqa: BLE001 - a module may raise what it likes, SystemExit too
        told["error"] = words(error, directory)
    signal.setitimer(signal.ITIMER_REAL, 0)
    send(answers, told | {"files": files_of(name, directory)})
    if policy is None:
        return 1
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(request["deadline_s"]) + 1.0)
        reply = answered(policy, request, directory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(answers, reply)
    return 0


def answered(policy: Policy, request: dict[str, Any], directory: str) -> dict[str, Any]:
    """What goes back to the parent: an answer, or `error`."""
    try:
        if "fields" in request:
            policy.learn(request["fields"])
        return policy.answer(request)
    except BaseException as error:  # noqa: BLE001 - and so may a hook
        return {"error": words(error, directory, policy.about)}


def send(fd: int, answer: dict[str, Any]) -> None:
    """One line to the parent; without one there is nothing left to do."""
    data = json.dumps(answer).encode() + b"\n"
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    # No teardown: what the plug-in imported may hang in its own.
    os._exit(main(*sys.argv[1:5]))
