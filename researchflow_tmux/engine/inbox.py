"""The requests that the inbox may hold, each answered by the function that does it."""

from __future__ import annotations

from typing import Any

import msgspec

from researchflow_tmux.domain.events import Notice
from researchflow_tmux.domain.setting import Setting
from researchflow_tmux.engine.by_hand import cancel, hold, release, requeue
from researchflow_tmux.engine.setting import set_by_hand
from researchflow_tmux.engine.steering import Steering, steer
from researchflow_tmux.engine.submitting import Submission, submit
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.ports import Request

_decode_submission = msgspec.json.Decoder(Submission).decode


def handle(book: Book, request: Request, grace_s: float) -> dict[str, Any]:
    """Answer one request of the inbox. An unknown kind is answered with an error, never raised.

    Raises msgspec.MsgspecError when it cannot be understood; then nothing was changed.
    """
    if request.kind == "submit":
        return msgspec.to_builtins(submit(book, _decode_submission(request.json)))  # type: ignore[no-any-return]
    return _by_hand(book, request.kind, request.body, request.by, grace_s)


def _by_hand(book: Book, kind: str, body: dict[str, Any], by: str, grace_s: float) -> dict[str, Any]:
    ids = body.get("ids", [])
    match kind:
        case "cancel":
            return cancel(book, ids, body.get("by", "user"), grace_s)
        case "requeue":
            return requeue(book, ids, by, grace_s, afresh=bool(body.get("afresh")))
        case "hold":
            return hold(book, ids, by)
        case "release":
            return release(book, ids, by)
        case "set":
            return set_by_hand(book, ids, msgspec.convert(body.get("values", {}), Setting), by)
        case "gpus":
            return msgspec.to_builtins(steer(book, msgspec.convert(body, Steering), by, grace_s))  # type: ignore[no-any-return]
        case "remember" | "resume" | "look":  # kept by the engine; no scheduler is at work that could do more
            return {}
        case "note":
            book.apply(Notice(text=str(body.get("text", "")), level=str(body.get("level", "info"))))
            return {}
        case _:
            return {
                "error": f"this scheduler does not know the request {kind!r}: it is older than the command; restart it"
            }
