"""What the type of a setting means in plain words: for messages and for the reference."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

Field = msgspec.structs.FieldInfo


def type_of(field_type: Any) -> inspect.Type:
    """The type without its description."""
    info = inspect.type_info(field_type)
    return info.type if isinstance(info, inspect.Metadata) else info


def members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    """The alternatives of a union, without their descriptions; other types are their own only member."""
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return tuple(item.type if isinstance(item, inspect.Metadata) else item for item in types)


_OTHER_WORDS = {
    "always_success": "always",
    "print_failure_and_continue": "continue",
    "silent_continue": "silent",
    "stop_execution": "stop",
}


def usual_spelling(info: inspect.Type, value: Any) -> Any:
    """A word that means one of the given ones, in the spelling of those: `VERIFY_ONLY` is `verify_only`."""
    if not isinstance(value, str):
        return value
    known = {each for item in members(info) if isinstance(item, inspect.LiteralType) for each in item.values}
    word = value.lower()
    word = _OTHER_WORDS.get(word, word)
    return word if value not in known and word in known else value


def expected(info: inspect.Type) -> str:
    """Plain words, such as "a whole number of at least 1 or `unlimited`"."""
    words = [_one(item) for item in members(info) if not isinstance(item, inspect.NoneType)]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _one(info: inspect.Type) -> str:
    if isinstance(info, inspect.LiteralType):
        values = [f"`{value}`" for value in info.values]
        return " or ".join(values) if len(values) < 3 else f"one of {', '.join(values)}"
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return ("a whole number" if isinstance(info, inspect.IntType) else "a number") + _bound(info)
    if isinstance(info, inspect.StrType):
        if info.pattern:
            return f"a text of the form `{info.pattern}`"
        return "a text that is not empty" if info.min_length else "a text"
    if isinstance(info, inspect.BoolType):
        return "`true` or `false`"
    if isinstance(info, inspect.ListType):
        return "a list of texts" if isinstance(info.item_type, inspect.StrType) else "a list"
    if isinstance(info, inspect.DictType):
        return "lines of `NAME: value`"
    return "a value"


def _bound(info: inspect.IntType | inspect.FloatType) -> str:
    most = f" and at most {info.le:g}" if info.le is not None else ""
    if info.ge is not None:
        return f" of at least {info.ge:g}{most}"
    return f" above {info.gt:g}{most}" if info.gt is not None else ""


def description(field_type: Any) -> str:
    """The description that the field carries."""
    info = inspect.type_info(field_type)
    schema = info.extra_json_schema if isinstance(info, inspect.Metadata) else None
    return str((schema or {}).get("description", ""))


def default_of(field: Field) -> Any:
    """The default; `msgspec.NODEFAULT` = the key must be there."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default
