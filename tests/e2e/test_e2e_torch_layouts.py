"""The torch trainer, however ranks share its work out, learns what it does on one rank.

One world trains every layout after the other. Wrong groups of ranks, an update of another rank's weights or a gradient
that is exchanged too early would be off by far more than rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from e2e_losses import ROUNDING, Losses, each, job, losses, run, small

from e2e.layout import Layout

TENSOR, PARALLEL, PIPELINE = Layout(tensor=2), Layout(tensor=2, sequence=True), Layout(pipeline=2)
TWO: dict[str, dict[str, Any]] = {
    "DDP": {},
    "DDP, states shared out": {"stage": 1},
    "FSDP2, weights kept": {"stage": 2},
    "FSDP2": {"stage": 3},
    "FSDP2, offloaded, recomputed": {"stage": 3, "offload": "cpu", "recompute": "full"},
    "tensor": {"layout": TENSOR},
    "tensor and sequence, recomputed attention": {"layout": PARALLEL, "recompute": "selective"},
    "tensor at stage 1, whose one data rank has nobody to share with": {"layout": TENSOR, "stage": 1},
    "pipeline": {"layout": PIPELINE},
    "pipeline at stage 1": {"layout": PIPELINE, "stage": 1},
}
FOUR: dict[str, dict[str, Any]] = {
    "tensor, FSDP2": {"layout": TENSOR, "stage": 3},
    "tensor and sequence, FSDP2, weights kept": {"layout": PARALLEL, "stage": 2},
    "pipeline, DDP": {"layout": PIPELINE},
    "pipeline, DDP, states shared out": {"layout": PIPELINE, "stage": 1},
    "pipeline, FSDP2": {"layout": PIPELINE, "stage": 3},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    found = losses(job("torch", small()), 1, tmp_path_factory.mktemp("one") / "world")
    assert found.losses[-1] < 0.95 * found.losses[0], "nothing is learned: wrong gradients would not show"
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ranks", "jobs"), [(2, TWO), (4, FOUR)], ids=["two ranks", "four"])
def test_losses_are_those_of_one_rank(
    ranks: int, jobs: dict[str, dict[str, Any]], alone: Losses, tmp_path: Path
) -> None:
    found = each([job("torch", small(), **other) for other in jobs.values()], ranks, tmp_path / "world")
    off = {name: one.off(alone) for name, one in zip(jobs, found, strict=True)}
    assert {name: value for name, value in off.items() if value >= ROUNDING} == {}


def test_tensor_ranks_under_ddp_are_refused_with_what_can_be_had(tmp_path: Path) -> None:
    """Torch's own words would be of mixed tensors in aten.cat."""
    ended = run(job("torch", small(), layout=TENSOR, stage=1), 4, tmp_path / "world")
    assert all("use stage 2 or 3, which is FSDP2, or megatron" in one.reason for one in ended)
