"""The kinds of logs there are; a new one is a module with a `KIND`, and a line here."""

from __future__ import annotations

import importlib

from collectors.parser import Kind
from harness.errors import unknown

MODULES: tuple[str, ...] = ()
"""Below `collectors`, in the order in which they are asked about a line."""


def load() -> list[Kind]:
    return [importlib.import_module(f"collectors.{name}").KIND for name in MODULES]


def chosen(name: str | None) -> list[Kind]:
    """All kinds, or the one of that name; UsageError where there is none."""
    kinds = load()
    if name is None:
        return kinds
    one = [kind for kind in kinds if kind.name == name]
    if not one:
        raise unknown("kind of log", name, [kind.name for kind in kinds], "`bench collect --kinds` lists them.")
    return one
