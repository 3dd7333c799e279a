"""Writing the calls of function jobs to a file, and reading what the jobs returned."""

from __future__ import annotations

import json
import os
import pickle
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, Any

from researchflow_tmux import called
from researchflow_tmux.adapters.files import sync_directory
from researchflow_tmux.api.functions import Call, by_value
from researchflow_tmux.domain.errors import RemoteError, ResultError, StoreError, UsageError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths

SOURCE = "function"
"""Kind of source of function jobs. Their key is `{call file}:{number in it}`."""


def pack(paths: WorkspacePaths, calls: Sequence[Call[Any]]) -> Iterator[tuple[str, list[str]]]:
    """Write calls to one new file, and yield key and command of each. The file is on disk then.

    Raises:
        UsageError: A function or an argument cannot be pickled, or this Python cannot be started again.
        StoreError: The disk refuses.
    """
    if not sys.executable:
        raise UsageError("this Python does not know its own executable", hint="submit a command instead of a function")
    name = uuid.uuid4().hex
    path = os.path.join(paths.calls, name)
    try:
        os.makedirs(paths.calls, mode=0o700, exist_ok=True)
        try:
            offsets = _write(path, calls)
        except BaseException:
            os.unlink(path)
            raise
        sync_directory(paths.calls)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="free disk space, or correct the permissions") from error
    for number, offset in enumerate(offsets):
        yield f"{name}:{number}", [sys.executable, "-P", os.path.abspath(called.__file__), path, str(offset)]


def _write(path: str, calls: Sequence[Call[Any]]) -> list[int]:
    offsets: list[int] = []
    functions: dict[int, int] = {}  # a function that is called a thousand times is written once
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file, by_value():
        for call in calls:
            where = functions.get(id(call.function))
            if where is None:
                where = functions[id(call.function)] = file.tell()
                _dump(call.function, file, f"the function {call.name}")
            arguments = file.tell()
            _dump((call.args, call.kwargs), file, f"an argument of {call.name}")
            offsets.append(file.tell())
            facts = {"python": called.HERE, "sys_path": sys.path, "function": where, "arguments": arguments}
            file.write(json.dumps(facts).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return offsets


def _dump(content: Any, file: IO[bytes], what: str) -> None:
    try:
        called.dump(content, file)
    except OSError:
        raise
    except Exception as error:
        said = f"{what} cannot be pickled: {type(error).__name__}: {error}"
        raise UsageError(said, hint="open files, locks and connections belong inside the function") from error


def file_of(key: str) -> str:
    """The name of the call file in which the call of a job with this key is."""
    return key.partition(":")[0]


def result_of(paths: WorkspacePaths, job: Job) -> Any:
    """What the function of a job that succeeded returned. Raises ResultError."""
    with _opened(paths, job) as file:
        facts = _facts(file, job)
        try:
            return pickle.load(file)  # noqa: S301 - written by the user's own job, readable by him alone
        except Exception as error:
            said = f"the result of {job.name} cannot be unpickled: {type(error).__name__}: {error}"
            written = facts.get("python")
            hint = "import what defines its type first"
            if written != called.HERE:
                hint = f"it was written by Python {written}, and this is Python {called.HERE}"
            raise ResultError(said, hint=hint) from error


def error_of(paths: WorkspacePaths, job: Job) -> RemoteError | None:
    """What the function of a job that failed raised; None = it did not come to that (it was killed, say)."""
    try:
        with _opened(paths, job) as file:
            facts = _facts(file, job)
            if facts.get("kind") == called.VALUE:
                return None
            return RemoteError(
                f"{job.name}: {facts.get('message')}",
                job_id=job.id,
                state=str(job.state),
                code=job.exit_code,
                traceback=str(facts.get("traceback", "")),
                original=_original(file),
            )
    except ResultError:
        return None


def _original(file: IO[bytes]) -> BaseException | None:
    try:
        found = pickle.load(file)  # noqa: S301 - as above
    except Exception:  # noqa: BLE001 - whatever it is: the traceback's text tells it all the same
        return None
    return found if isinstance(found, BaseException) else None


def _opened(paths: WorkspacePaths, job: Job) -> IO[bytes]:
    path = os.path.join(paths.attempt_dir(job.id, job.attempts), called.RESULT_NAME)
    try:
        return open(path, "rb")
    except OSError as error:
        said = f"the result of {job.name} is not there ({path}: {error.strerror})"
        raise ResultError(said, hint="was it removed? `rfsched requeue` runs the job again") from None


def _facts(file: IO[bytes], job: Job) -> dict[str, Any]:
    try:
        return called.read(file)
    except ValueError as error:
        raise ResultError(f"the result of {job.name} cannot be read: {error}", hint="run it again") from None
