"""Microbenchmarks: one operation at a time. The first level of what a cluster can do."""

from __future__ import annotations

BENCHMARKS = (
    "microbench.collectives",
    "microbench.collectives.overlap",
    "microbench.collectives.pairwise",
    "microbench.gemm",
    "microbench.memory",
)
"""Modules that register benchmarks, one on a line. Importing one imports no torch."""
