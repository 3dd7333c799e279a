"""JSON through the C accelerator alone: `import json` needs `re`, which costs 11 ms and 1.3 MB in each attempt."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What the C scanner asks of a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def dumps(value: object) -> str:
    """Return `value` as one line of ASCII JSON."""
    try:
        import _json

        make: Any = _json.make_encoder
        encode = make(None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
        return "".join(encode(value, 0))
    except (ImportError, AttributeError, TypeError):
        import json

        return json.dumps(value)


def loads(text: str) -> Any:
    """Return the one JSON value of `text`; ValueError when it is anything else."""
    text = text.strip()
    try:
        import _json

        scan: Any = _json.make_scanner(_Context())  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    try:
        value, end = scan(text, 0)
    except (StopIteration, SystemError):
        # SystemError: up to Python 3.12 the scanner cannot raise JSONDecodeError unless `json` was imported.
        raise ValueError("not a JSON value") from None
    if end != len(text):
        raise ValueError(f"text after the JSON value at character {end}")
    return value


def load_dict(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `data`, None when it is torn, empty or something else."""
    try:
        value = loads(data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
