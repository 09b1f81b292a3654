"""Suites: which benchmarks, with which parameters, how often and for how long (bench/suites.toml)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from bench.parameters import spread
from harness.errors import unknown
from harness.policy import Policy
from harness.records import Struct
from harness.units import parse_duration

SUITES_FILE = Path(__file__).with_name("suites.toml")


class Cells(Struct, frozen=True):
    """Benchmarks and the values of each of their parameters, to be crossed."""

    benchmarks: tuple[str, ...]
    on: tuple[str, ...]  # accelerators; empty: all
    grid: dict[str, list[Any]]


class Suite(Struct, frozen=True):
    name: str
    title: str
    launches: int
    budget: float  # s, of the whole run
    timeout: float  # s, of one collective
    policy: Policy
    cells: tuple[Cells, ...]


def load(name: str) -> Suite:
    """The suite of that name; an unknown one lists near matches."""
    known = _file()
    if name not in known:
        raise unknown("suite", name, known, f"Suites: {', '.join(known)}.")
    return _suite(name, known[name])


def titles() -> dict[str, str]:
    """Suites and what each is for."""
    return {name: entry["title"] for name, entry in _file().items()}


def _file() -> dict[str, dict[str, Any]]:
    return tomllib.loads(SUITES_FILE.read_text())


def _suite(name: str, entry: dict[str, Any]) -> Suite:
    return Suite(
        name=name,
        title=entry["title"],
        launches=entry["launches"],
        budget=parse_duration(entry["budget"]),
        timeout=parse_duration(entry["timeout"]),
        policy=msgspec.convert(entry["policy"], Policy),
        cells=tuple(_cells(cells) for cells in entry["cells"]),
    )


def _spread(value: object) -> list[Any]:
    return list(spread(value)) if isinstance(value, str) else [value]


def _cells(entry: dict[str, Any]) -> Cells:
    held = {key: [one for value in values for one in _spread(value)] for key, values in entry.items()}
    return Cells(tuple(held.pop("benchmarks")), tuple(held.pop("on", ())), held)
