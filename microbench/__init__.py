"""Microbenchmarks: one operation at a time. The first level of what a cluster can do."""

from __future__ import annotations

BENCHMARKS = (
    "microbench.checkpoint.crash",
    "microbench.checkpoint.reshape",
    "microbench.checkpoint.times",
    "microbench.collectives",
    "microbench.collectives.nccl_tests",
    "microbench.collectives.overlap",
    "microbench.collectives.pairwise",
    "microbench.gemm",
    "microbench.gemm.attention",
    "microbench.gemm.peak",
    "microbench.gemm.rules",
    "microbench.gemm.transformer",
    "microbench.memory",
    "microbench.offload.contention",
    "microbench.offload.fits",
    "microbench.offload.io",
    "microbench.offload.sustained",
    "microbench.offload.training",
)
"""Modules that register benchmarks, one on a line. Importing one imports no torch."""
