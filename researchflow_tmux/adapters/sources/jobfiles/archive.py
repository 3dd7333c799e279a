"""Where job files go that have nothing more to run: `processed/{file}.old`."""

from __future__ import annotations

import contextlib
import os

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.files import sync_directory


def put_away(path: str, expected: user_file.Seen, directory: str, name: str) -> str:
    """Move a file that looks like `expected` to `directory`/`name`.old, `.old.2`, …; nothing there is overwritten.

    Returns its new path. Raises ChangedMeanwhile or BeingWritten (then it is where it was), or Unusable.
    """
    place = ""
    try:
        with user_file.open_regular(path) as fd, user_file.Guard(fd) as guard:
            if user_file.look(path) != expected:
                raise user_file.ChangedMeanwhile
            place = _reserve(os.path.join(directory, f"{name}.old"))
            os.rename(path, place)
            if guard.broken or not _is_the_same(place, expected):
                os.link(place, path)  # somebody wants to write to it, or put another file there in this moment
                os.unlink(place)
                raise user_file.ChangedMeanwhile
        sync_directory(os.path.dirname(place))
        sync_directory(os.path.dirname(path))
    except FileNotFoundError:
        raise user_file.ChangedMeanwhile from None
    except OSError as error:
        _give_up(place)
        message = f"is done, but cannot be moved to {directory}: {error.strerror or error}"
        raise user_file.Unusable(message, "correct that, or set `archive_job_files: never`") from None
    return place


def _reserve(wanted: str) -> str:
    """Make an empty file of this name, with a number if there is one; an empty one holds nothing and may be taken."""
    os.makedirs(os.path.dirname(wanted), exist_ok=True)
    number, place = 1, wanted
    while True:
        try:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if os.path.isfile(place) and not os.path.islink(place) and os.path.getsize(place) == 0:
                return place
            number += 1
            place = f"{wanted}.{number}"
        else:
            return place


def _is_the_same(place: str, expected: user_file.Seen) -> bool:
    now = user_file.look(place)
    return now is not None and now[:4] == expected[:4]  # the time of change is that of the move


def _give_up(place: str) -> None:
    with contextlib.suppress(OSError):
        if place and os.path.getsize(place) == 0:
            os.unlink(place)
