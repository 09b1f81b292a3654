"""The DeepSpeed trainer beyond ZeRO in float32: AutoTP, Muon, bfloat16, and what it refuses."""

from __future__ import annotations

import pytest
from e2e_losses import each, job, losses, small

from e2e.layout import Layout
from e2e.trainers import Refused, build

ROUNDING = 1e-5  # of a loss, see test_e2e_deepspeed
STEPS = 8  # beside 20 of ZeRO there; two ranks that share a busy core wait for each other at every exchange


def test_autotp_learns_what_torch_does(tmp_path):
    """Two tensor ranks on the same sequences; stage 3 shards over the one data rank."""
    alone = losses(job("torch", small()), 1, tmp_path / "torch", steps=STEPS)
    jobs = [job("deepspeed", small(), Layout(tensor=2), stage=stage) for stage in (0, 3)]
    for one in each(jobs, 2, tmp_path / "deepspeed", steps=STEPS):
        assert one.off(alone) < ROUNDING
        assert "whole on each tensor rank" in one.notes[-1]


def test_bfloat16_is_near_torchs(tmp_path):
    """The two round at other places. At stage 0 the first update would be 0.735 of torch's, and the losses 2e-3
    off, had DeepSpeed's empty step been left in."""
    given = {"dtype": "bfloat16", "learning_rate": 2e-3}
    alone = losses(job("torch", small(), **given), 1, tmp_path / "torch", steps=STEPS)
    jobs = [job("deepspeed", small(), stage=stage, **given) for stage in range(4)]
    found = each(jobs, 2, tmp_path / "two", steps=STEPS)
    assert all(one.off(alone) < 3e-4 for one in found)
    assert all("rounded to bfloat16" in one.notes[1] for one in found)
    assert "summed in bfloat16" in found[0].notes[2]


def test_muon_is_torchs_at_stage_0_and_its_own_under_zero(tmp_path):
    """Its own Newton-Schulz iteration orthogonalises as torch's does, to the rounding of half precision; under ZeRO it
    clips updates instead of gradients, and says so."""
    alone = losses(job("torch", small(), optimizer="muon"), 1, tmp_path / "torch", steps=STEPS)
    jobs = [job("deepspeed", small(), optimizer="muon", stage=stage) for stage in (0, 1, 3)]
    zero, first, *others = each(jobs, 2, tmp_path / "deepspeed", steps=STEPS)
    assert zero.off(alone) < 3e-4
    assert all(one.off(first) < ROUNDING for one in others)
    assert first.off(zero) > ROUNDING
    assert "MuonWithAuxAdam" in zero.notes[0]
    assert "clipping is by the norm of Muon's update" in first.notes[-1]


@pytest.mark.parametrize(
    ("given", "words"),
    [({"layout": Layout(expert=2)}, "megatron shares these out"), ({"layout": Layout(context=2)}, "Ulysses"),
     ({"layout": Layout(pipeline=2)}, "in one call"), ({"dtype": "float8"}, "no products in float8"),
     ({"optimizer": "adafactor"}, "no Adafactor"), ({"offload": "cpu"}, "stage 1, 2 or 3, not 0"),
     ({"optimizer": "muon", "layout": Layout(tensor=2)}, "use tensor=1"),
     ({"layout": Layout(tensor=2), "model": small("tiny-moe")}, "not this network's experts")],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_deepspeed_does_not_do_is_refused_in_words(given, words):
    import torch

    model = given.pop("model", small())
    with pytest.raises(Refused, match=words):
        build(job("deepspeed", model, **given), torch.device("cpu"))
