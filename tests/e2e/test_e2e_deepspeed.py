"""The DeepSpeed trainer on two ranks: ZeRO of every stage learns what torch alone does on one."""

from __future__ import annotations

import pytest
from e2e_losses import each, job, losses, small

ROUNDING = 1e-5
"""Greatest relative difference of the losses of 20 steps: the two sum in another order. 1e-6 was seen."""
STAGES = ({"stage": 0}, {"stage": 1, "offload": "cpu"}, {"stage": 2, "offload": "cpu"}, {"stage": 1}, {"stage": 2},
          {"stage": 3}, {"stage": 3, "offload": "cpu", "recompute": "full"})  # fmt: skip


def test_every_stage_and_the_offload_learn_what_torch_does(tmp_path):
    """Two ranks, four sequences each, in two micro-batches: averages over both, shards, what is gathered again, for
    recomputation once more."""
    alone = losses(job("torch", small()), 1, tmp_path / "torch")
    assert alone.losses[-1] < 0.97 * alone.losses[0]
    found = each([job("deepspeed", small(), **given) for given in STAGES], 2, tmp_path / "deepspeed")
    for given, one in zip(STAGES, found, strict=True):
        assert one.off(alone) < ROUNDING, given
        assert f"stage {given['stage']}, updates by" in one.notes[0]


@pytest.mark.parametrize("name", ["tiny-moe", "gpt3-175b"])
def test_other_models_too(name, tmp_path):
    """Experts; biases, LayerNorm and learned positions."""
    other = {"experts": 4} if name == "tiny-moe" else {"kv_heads": 4, "context": 64, "tied": False}
    model = small(name, **other)
    alone = losses(job("torch", model), 1, tmp_path / "torch", steps=8)
    found = each([job("deepspeed", model, stage=stage) for stage in (0, 3)], 2, tmp_path / "deepspeed", steps=8)
    assert all(one.off(alone) < ROUNDING for one in found)
