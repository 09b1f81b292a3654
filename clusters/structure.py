"""What in a document does not fit a msgspec type: every problem at once, each with its dotted key.

msgspec's own conversion stops at the first fault; a person who writes a definition wants them all,
with what is accepted in each place. The type itself says that (`msgspec.inspect`), so the two cannot
drift apart.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from msgspec import inspect

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALARS: dict[type[inspect.Type], tuple[str, tuple[type, ...]]] = {
    inspect.StrType: ("text", (str,)),
    inspect.IntType: ("a whole number", (int,)),
    inspect.FloatType: ("a number", (int, float)),
    inspect.BoolType: ("true or false", (bool,)),
}
_FOUND = {bool: "true or false", list: "an array", dict: "a table"}


def problems(document: object, kind: type) -> list[str]:
    """All that keeps `document` (plain values, as a TOML reader gives them) from being a `kind`."""
    return list(_misfits(document, _described(kind), ""))


@cache
def _described(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


def join(key: str, part: str) -> str:
    """A dotted key, quoted where TOML would have it quoted: 'device.peaks."a b"'."""
    part = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
    return f"{key}.{part}" if key else part


def near(name: str, known: Sequence[str]) -> str:
    """' (near: vendor)' where a known name resembles `name`, case aside, else nothing."""
    lowered = {text.lower(): text for text in known}
    hits = [lowered[hit] for hit in difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.6)]
    return f" (near: {', '.join(hits)})" if hits else ""


def _misfits(value: object, kind: inspect.Type, key: str) -> Iterator[str]:
    choices = _choices(kind)
    if isinstance(kind, inspect.UnionType):
        yield from _union(value, kind, key)
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _struct(value, kind, key)
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        for name, item in value.items():
            yield from _misfits(item, kind.value_type, join(key, name))
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _misfits(item, kind.item_type, f"{key}[{index}]")
    elif choices:
        if not isinstance(value, str) or value not in choices:
            yield f"{key}: {_found(value)} is not accepted{near(str(value), choices)}; accepted: {', '.join(choices)}"
    elif not _is_scalar(value, kind):
        yield f"{key or 'the document'}: found {_found(value)}; accepted: {_accepted(kind)}"


def _struct(table: dict[str, Any], kind: inspect.StructType, key: str) -> Iterator[str]:
    fields = {field.encode_name: field for field in kind.fields}
    for name in (name for name in table if name not in fields):
        yield f"{join(key, name)}: unknown key{near(name, list(fields))}; accepted here: {', '.join(fields)}"
    for name, field in fields.items():
        if name in table:
            yield from _misfits(table[name], field.type, join(key, name))
        elif field.required:
            yield f"{join(key, name)}: missing; accepted: {_accepted(field.type)}"


def _union(value: object, kind: inspect.UnionType, key: str) -> Iterator[str]:
    """TOML has no null, so `X | None` is X; of several kinds, one that fits is enough."""
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if len(options) == 1:
        yield from _misfits(value, options[0], key)
    elif not any(_is_scalar(value, option) for option in options):
        yield f"{key}: found {_found(value)}; accepted: {', '.join(map(_accepted, options))}"


def _choices(kind: inspect.Type) -> list[str]:
    """The texts that a closed set of values accepts; empty for any other kind."""
    if isinstance(kind, inspect.EnumType):
        return [str(member.value) for member in kind.cls]
    if isinstance(kind, inspect.LiteralType):
        return [str(value) for value in kind.values]
    return []


def _is_scalar(value: object, kind: inspect.Type) -> bool:
    _, types = _SCALARS.get(type(kind), ("", ()))
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return False  # beyond what a TOML integer may hold, though Python's reader lets it through
    return isinstance(value, types)


def _accepted(kind: inspect.Type) -> str:
    """What may stand in a place, in words."""
    if choices := _choices(kind):
        return f"one of {', '.join(choices)}"
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_accepted(option) for option in kind.types if not isinstance(option, inspect.NoneType))
    if isinstance(kind, inspect.StructType):
        needed = ", ".join(field.encode_name for field in kind.fields if field.required)
        return f"a table with {needed}" if needed else "a table"
    if isinstance(kind, inspect.DictType):
        return f"a table of {_accepted(kind.value_type)} by name"
    if isinstance(kind, inspect.VarTupleType):
        return f"an array of {_accepted(kind.item_type)}"
    return _SCALARS[type(kind)][0]


def _found(value: object) -> str:
    """What stands there, short: the value where it is one, else its kind."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value) if isinstance(value, float) or abs(value) < 2**63 else "a whole number beyond 64 bits"
    return _FOUND.get(type(value), "a date or time")
