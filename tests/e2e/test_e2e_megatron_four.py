"""Megatron-core's trainer with several ways of sharing out at once, on four ranks, comes to torch's losses on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from e2e_losses import ROUNDING, each, job, losses, small

from e2e.layout import Layout

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")

JOBS = {
    "tensor, pipeline": {"layout": Layout(tensor=2, pipeline=2)},
    "tensor, data, states shared out": {"layout": Layout(tensor=2, sequence=True), "stage": 1},
    "pipeline, data, states shared out": {"layout": Layout(pipeline=2), "stage": 1},
}  # fmt: skip


@pytest.mark.timeout(300)
def test_losses_are_torchs(tmp_path: Path) -> None:
    """Ranks are numbered in an order of megatron's own: data that follows another one would train each sequence
    twice, or not at all."""
    reference = losses(job("torch", small()), 1, tmp_path / "torch")
    came = each(tuple(job("megatron", small(), **other) for other in JOBS.values()), 4, tmp_path / "megatron")
    assert {name: one.off(reference) < ROUNDING for name, one in zip(JOBS, came, strict=True)} == dict.fromkeys(
        JOBS, True
    )
