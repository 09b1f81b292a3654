"""Microbenchmarks: one operation at a time. The first level of what a cluster can do."""

from __future__ import annotations

BENCHMARKS = ("microbench.collectives", "microbench.gemm", "microbench.memory")
"""Modules that register benchmarks. Importing one imports no torch."""
