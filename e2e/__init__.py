"""Training jobs: utilisation (MFU) and critical batch size. The second level of what a cluster can do."""

from __future__ import annotations

BENCHMARKS = ("e2e.mfu", "e2e.ablation", "e2e.scaling", "e2e.cbs", "e2e.local")
"""Modules that register benchmarks. Importing one imports no torch."""
