"""Parameters of cells: from texts and grids to checked values, every fault named before anything runs."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.records import Params, Struct
from harness.registry import Benchmark
from harness.store import Planned
from harness.units import parse_size

Grid = Mapping[str, Sequence[Any]]

MOST_VALUES = 10_000  # of one range: more are a slip


def parse_settings(texts: Iterable[str]) -> dict[str, list[str]]:
    """{'size': ['1KiB', '1MiB']} from 'size=1KiB,1MiB'; UsageError for anything else."""
    settings: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(f"--set '{text}': write KEY=VALUE, or KEY=VALUE,VALUE to sweep")
        settings[key.strip()] = [one for part in value.split(",") for one in spread(part.strip())]
    return settings


def spread(text: str) -> list[str]:
    """The values of a range, each as text: '8..16GiB' doubles, '1KiB..1MiB*4' goes by a factor, '128..512+128'
    by a step; the last stays at or below the upper end. Anything else stands for itself."""
    match = re.fullmatch(r"(\d[^./]*)\.\.(\d[^./*+]*)(?:([*+])(\S*))?", text)
    if match is None:
        return [text]
    try:
        low, high = parse_size(match.group(1)), parse_size(match.group(2))
        by = parse_size(match.group(4) if match.group(3) else "2")
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from error
    adds = match.group(3) == "+"
    if low > high or (by < 2 and not adds):
        raise UsageError(f"{text}: from the lower to the higher, by a factor (*2 or more) or a step (+)")
    values = [low]
    while (after := values[-1] + by if adds else values[-1] * by) <= high:
        values.append(after)
        if len(values) > MOST_VALUES:
            raise UsageError(f"{text}: more than {MOST_VALUES:,} values; take a larger step")
    return [str(value) for value in values]


def check_settings(settings: Mapping[str, object], benchmarks: Sequence[Benchmark]) -> None:
    """Every key is a parameter of some chosen benchmark."""
    known = sorted({name for benchmark in benchmarks for name in fields(benchmark.params)})
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = f" Near: {', '.join(near)}." if near else ""
            raise UsageError(f"--set {key}: no chosen benchmark has this parameter.{hint} Known: {', '.join(known)}.")


def own_values(
    settings: Mapping[str, Sequence[str]], benchmark: Benchmark, chosen: Sequence[Benchmark]
) -> dict[str, list[str]]:
    """The settings as one of several chosen benchmarks takes them: a word that it does not accept, and
    another one does, is left to that one. What nobody accepts stays, to be refused."""

    def foreign(key: str, value: str) -> bool:
        others = (_accepts(other, key, value) for other in chosen)
        return _accepts(benchmark, key, value) is False and any(others)

    return {key: [value for value in values if not foreign(key, value)] for key, values in settings.items()}


def _accepts(benchmark: Benchmark, key: str, value: str) -> bool | None:
    """Whether a parameter that must be one of several words may be this one; None where it may be others."""
    accepted = getattr(types(benchmark).get(key), "values", None)
    return None if accepted is None else value in accepted


def expand(benchmark: Benchmark, grid: Grid) -> list[Planned]:
    """Cells of one benchmark: the grid crossed, each cell's parameters checked and complete."""
    names = [name for name in grid if name in fields(benchmark.params)]
    planned = []
    for values in itertools.product(*(grid[name] for name in names)):
        asked = complete(benchmark, dict(zip(names, values, strict=True)))
        parts = _parts(benchmark, asked) if benchmark.parts else [asked]
        planned += [Planned(benchmark.name, benchmark.version, params) for params in parts]
    return planned


def _parts(benchmark: Benchmark, asked: Params) -> list[Params]:
    """The cells that `asked` stands for; UsageError with the benchmark's own words."""
    assert benchmark.parts is not None
    try:
        held = benchmark.parts(msgspec.convert(asked, benchmark.params))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{benchmark.name}: {error}") from error
    return [{name: getattr(params, name) for name in fields(benchmark.params)} for params in held]


def complete(benchmark: Benchmark, given: Mapping[str, Any]) -> Params:
    """All parameters of a cell, defaults filled in; UsageError naming benchmark, key and what is accepted."""
    values = {key: _value(benchmark, field, given[key]) for key, field in types(benchmark).items() if key in given}
    try:
        params = msgspec.convert(values, benchmark.params, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{benchmark.name}: {_plain(str(error), values)}") from error
    held: Params = {name: getattr(params, name) for name in fields(benchmark.params)}
    for name, value in held.items():
        if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
            raise UsageError(f"{benchmark.name}: {name}={value}: a finite number")
    return held


def fields(params: type[Struct]) -> tuple[str, ...]:
    return params.__struct_fields__


def fewest_ranks(benchmark: Benchmark) -> int:
    """What its parameter `ranks` takes at least, 2 where it does not say; 0 where it has none, and runs on all ranks
    or on each."""
    if "ranks" not in fields(benchmark.params):
        return 0
    return getattr(types(benchmark)["ranks"], "ge", None) or 2


def types(benchmark: Benchmark) -> dict[str, Any]:
    """msgspec's description of each field's type, by name."""
    described = msgspec.inspect.type_info(benchmark.params)
    return {field.name: field.type for field in getattr(described, "fields", ())}


def _value(benchmark: Benchmark, field: Any, value: Any) -> Any:  # noqa: ANN401 (msgspec's nodes have no base)
    """Sizes from their texts; a word that must be one of several is checked here, to name them all."""
    accepted = getattr(field, "values", None)
    if accepted is not None and value not in accepted:
        near = difflib.get_close_matches(str(value), list(map(str, accepted)), n=1)
        hint = f" Near: {near[0]}." if near else ""
        raise UsageError(f"{benchmark.name}: '{value}': accepted are {', '.join(map(str, accepted))}.{hint}")
    if isinstance(value, str) and (getattr(field, "extra", None) or {}).get("unit") == "B":
        try:
            return parse_size(value)
        except ValueError as error:
            raise UsageError(f"{benchmark.name}: {error}") from error
    return value


def _plain(message: str, values: Mapping[str, Any]) -> str:
    """msgspec's message with the parameter named as the user wrote it."""
    text, _, place = message.partition(" - at `$.")
    name = place.rstrip("`")
    return f"{name}={values.get(name)!r}: {text}" if name else text
