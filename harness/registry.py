"""Benchmarks by name. A benchmark is a small record of functions, not a class tree.

Modules are listed by the rooms that hold benchmarks, and imported on look-up: importing one imports
no torch (that happens inside its function). Other packages add theirs through the entry-point group
`bench.benchmarks`, each entry naming a module.
"""

from __future__ import annotations

import fnmatch
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.errors import CannotRun, UsageError, unknown

if TYPE_CHECKING:
    from harness.context import Context
    from harness.records import Measurement, Struct

ENTRY_POINTS = "bench.benchmarks"

Function = Callable[["Context", Any], "Sequence[Measurement]"]
Parts = Callable[[Any], "Sequence[Struct]"]
Seconds = Callable[[Any], float]
F = TypeVar("F", bound=Function)
Scope = Literal["group", "device", "host"]


@dataclass(frozen=True)
class Benchmark:
    """What can be measured.

    scope: "group" runs on all ranks together; "device" runs on every device by itself, all at once; "host" runs
    once on every host, in one process that starts others as it needs them (harness.children).
    rate: name of the rate that headlines it. needs: importable modules beyond torch. parts: the cells
    that one asked-for cell stands for, where it is not one: the products of a model's layer. seconds: about what a
    cell takes in a suite, where that is its work's to say and not the policy's, or that from its parameters; else 0.
    """

    name: str
    version: int
    params: type[Struct]
    run: Function
    summary: str
    scope: Scope
    rate: str
    needs: tuple[str, ...] = ()
    parts: Parts | None = None
    seconds: float | Seconds = 0.0

    def takes(self, params: Mapping[str, Any]) -> float:
        """`seconds` of the cell with these parameters."""
        import msgspec

        if callable(self.seconds):
            return self.seconds(msgspec.convert(params, self.params))
        return self.seconds


_registered: dict[str, Benchmark] = {}


def benchmark(
    name: str,
    *,
    version: int,
    params: type[Struct],
    scope: Scope,
    rate: str,
    summary: str = "",
    needs: tuple[str, ...] = (),
    parts: Parts | None = None,
    seconds: float | Seconds = 0.0,
) -> Callable[[F], F]:
    """Register the decorated function `(Context, params) -> measurements` under `name`.

    The summary defaults to the first line of the docstring. A second function under the same name
    raises ValueError.
    """

    def register(function: F) -> F:
        text = summary or (function.__doc__ or "").strip().split("\n")[0]
        entry = Benchmark(name, version, params, function, text, scope, rate, needs, parts, seconds)
        held = _registered.get(name)
        if held is not None and held.run is not function:
            raise ValueError(f"two benchmarks are called '{name}': {held.run.__module__} and {function.__module__}")
        _registered[name] = entry
        return function

    return register


def plugin_modules() -> list[str]:
    """Modules that other installed packages offer as benchmarks."""
    if not _any_plugin():
        return []
    import importlib.metadata

    return [entry.module for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)]


def _any_plugin() -> bool:
    """Whether any installed package names the group at all: importing importlib.metadata to ask costs
    more than listing every benchmark does."""
    for folder in map(Path, sys.path):
        for kind in ("*.dist-info", "*.egg-info"):
            if any(
                ENTRY_POINTS in path.read_text(errors="replace") for path in folder.glob(f"{kind}/entry_points.txt")
            ):
                return True
    return False


def load(modules: Iterable[str]) -> dict[str, Benchmark]:
    """Import the listed modules and return every registered benchmark by name, sorted. CannotRun names
    a module that does not import: it may be another package's."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise CannotRun(
                f"benchmarks of module {module} cannot be loaded: {type(error).__name__}: {error}. Repair or "
                "uninstall the package that offers it."
            ) from error
    return dict(sorted(_registered.items()))


def find(name: str, known: dict[str, Benchmark]) -> Benchmark:
    """The benchmark of that name; an unknown one lists near matches."""
    if name not in known:
        raise unknown("benchmark", name, known, "See `bench list benchmarks`.")
    return known[name]


def select(patterns: Sequence[str], known: dict[str, Benchmark]) -> list[Benchmark]:
    """Benchmarks whose name matches any pattern, or lies under it: 'gemm' selects 'gemm.square'.

    A pattern that matches nothing is an error, so that a typing slip never measures less than asked.
    """
    chosen: dict[str, Benchmark] = {}
    for pattern in patterns:
        hits = [b for n, b in known.items() if fnmatch.fnmatchcase(n, pattern) or n.startswith(f"{pattern}.")]
        if not hits:
            if set(pattern) & set("*?["):
                raise UsageError(f"no benchmark matches '{pattern}'. See `bench list benchmarks`.")
            find(pattern, known)
        chosen.update({hit.name: hit for hit in hits})
    return list(chosen.values())
