"""All benchmarks there are: the rooms' own, and those of installed plugins."""

from __future__ import annotations

from harness import registry
from harness.registry import Benchmark


def modules() -> tuple[str, ...]:
    """Modules that register benchmarks."""
    import e2e
    import microbench

    return (*microbench.BENCHMARKS, *e2e.BENCHMARKS, *registry.plugin_modules())


def benchmarks() -> dict[str, Benchmark]:
    """Benchmarks by name; imports their modules, but no torch."""
    return registry.load(modules())
