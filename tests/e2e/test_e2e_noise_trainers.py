"""Every trainer's squared gradient norms, for the noise scale, against those of plain gradients of the same sequences.

A factor wrongly taken, of micro-batches or ranks, a weight that is counted twice or an exchange that came first would
be off by a tenth and more; sums in another order are off by 3e-6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from e2e_losses import job, small
from e2e_norms import exact, told

from e2e.asked import Asked
from e2e.layout import Layout

ROUNDING = 1e-4
FIRST = ((0, 1),)  # one data rank: of 8 sequences, its first micro-batch of 2
EACH = ((0, 1), (4, 5))  # two data ranks: each one's
BOTH = ((0, 1, 4, 5),)  # those two, exchanged
HALVES = ((0, 1, 2, 3), (4, 5, 6, 7))  # two data ranks: each one's whole step
TWO, FOUR = Layout(tensor=2), {"micro": 4}  # FOUR: one micro-batch a rank
PARALLEL = Layout(tensor=2, sequence=True)
EXPERTS, GPT = small("tiny-moe", experts=4), small("gpt3-175b", kv_heads=4, context=64)
needs_host = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")

TORCH = {
    "DDP": ({}, EACH),
    "DDP, one micro-batch": (FOUR, HALVES),
    "DDP, one micro-batch, recomputed": (FOUR | {"recompute": "full"}, HALVES),
    "FSDP2": ({"stage": 3}, BOTH),
    "FSDP2, one micro-batch": (FOUR | {"stage": 3}, HALVES),
    "FSDP2 at stage 2, one micro-batch": (FOUR | {"stage": 2}, HALVES),
    "tensor": ({"layout": TWO}, FIRST),
    "tensor and sequence": ({"layout": PARALLEL}, FIRST),
    "pipeline": ({"layout": Layout(pipeline=2)}, FIRST),
}  # fmt: skip
TORCH_FOUR = {
    "tensor, FSDP2": ({"layout": TWO, "stage": 3}, BOTH),
    "pipeline, DDP": ({"layout": Layout(pipeline=2)}, EACH),
    "pipeline, DDP, states shared out": ({"layout": Layout(pipeline=2), "stage": 1}, EACH),
    "pipeline, FSDP2": ({"layout": Layout(pipeline=2), "stage": 3}, HALVES),
}  # fmt: skip
DEEPSPEED = {
    **{f"stage {stage}": ({"stage": stage}, EACH) for stage in range(4)},
    **{f"stage {stage}, one micro-batch": (FOUR | {"stage": stage}, HALVES) for stage in range(4)},
    "stage 2, offloaded": ({"stage": 2, "offload": "cpu"}, EACH),
    "stage 3, recomputed": ({"stage": 3, "recompute": "full"}, EACH),
}  # fmt: skip
AUTO = {f"AutoTP, stage {stage}": ({"layout": TWO, "stage": stage}, FIRST) for stage in (0, 1, 3)}
MEGATRON = {
    "data": ({}, EACH),
    "data, one micro-batch": (FOUR, HALVES),
    "data, states shared out": ({"stage": 1}, EACH),
    "data, recomputed": ({"recompute": "full"}, EACH),
    "tensor": ({"layout": TWO}, FIRST),
    "tensor and sequence": ({"layout": PARALLEL}, FIRST),
    "pipeline": ({"layout": Layout(pipeline=2)}, FIRST),
    "biases, places, a tied output": ({"model": GPT, "layout": PARALLEL}, FIRST),
    "experts": ({"model": EXPERTS, "layout": PARALLEL}, FIRST),
}  # fmt: skip
MEGATRON_FOUR = {
    "tensor, pipeline": ({"layout": Layout(tensor=2, pipeline=2)}, FIRST),
    "tensor, data": ({"layout": PARALLEL, "stage": 1}, EACH),
}  # fmt: skip
Jobs = dict[str, tuple[dict[str, Any], tuple[tuple[int, ...], ...]]]


def asked(trainer: str, other: dict[str, Any]) -> Asked:
    given = dict(other)
    return job(trainer, given.pop("model", small()), **given)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("trainer", "ranks", "jobs"),
    [("torch", 2, TORCH), ("torch", 4, TORCH_FOUR), ("deepspeed", 2, DEEPSPEED), ("deepspeed", 2, AUTO),
     pytest.param("megatron", 2, MEGATRON, marks=needs_host),
     pytest.param("megatron", 4, MEGATRON_FOUR, marks=needs_host)],
    ids=["torch", "torch on four", "deepspeed", "deepspeed AutoTP", "megatron", "megatron on four"],
)  # fmt: skip
def test_norms_are_those_of_plain_gradients(tmp_path: Path, trainer: str, ranks: int, jobs: Jobs) -> None:
    """On every rank, for steps on end, so that what one step leaves behind would show in the next."""
    found = told([asked(trainer, other) for other, _ in jobs.values()], ranks, tmp_path / "world")
    for at, (name, (other, parts)) in enumerate(jobs.items()):
        known = exact(asked("torch", other), parts)
        for rank in range(ranks):
            seen = found[rank][at]
            assert not seen.refused, name
            assert (seen.b_small, seen.b_big) == (known["b_small"], known["b_big"]), name
            assert seen.small == pytest.approx(known["small"], rel=ROUNDING), name
            assert seen.big == pytest.approx(known["big"], rel=ROUNDING), name


def test_bfloat16_of_every_stage_is_near(tmp_path: Path) -> None:
    """Gradients in bfloat16, which ZeRO adds up and scales in its own ways."""
    given = [{"stage": stage, "dtype": "bfloat16"} for stage in range(4)]
    for other, seen in zip(given, told([asked("deepspeed", one) for one in given], 2, tmp_path / "world")[0],
                           strict=True):  # fmt: skip
        known = exact(asked("torch", other), EACH)
        assert seen.small == pytest.approx(known["small"], rel=0.05), other
        assert seen.big == pytest.approx(known["big"], rel=0.05), other


REFUSED = {
    "torch": ({"layout": Layout(pipeline=2), "stage": 3}, "a pipeline's stage holds no gradient"),
    "torch, one": ({"layout": TWO, "micro": 8}, "only one gradient"),
    "deepspeed, muon": ({"optimizer": "muon", "stage": 1}, "the norm of its update"),
    "megatron, experts": ({"model": EXPERTS, "layout": Layout(expert=2)}, "an expert's gradient is of tokens"),
    "megatron, tied": ({"model": GPT, "layout": Layout(pipeline=2)}, "a part of its gradient only"),
    "deepspeed, one": ({"layout": TWO, "micro": 8}, "only one gradient"),  # last: an engine leaves its groups behind
}  # fmt: skip


@needs_host
def test_what_has_no_two_gradients_says_why(tmp_path: Path) -> None:
    jobs = [asked(name.split(",")[0], other) for name, (other, _) in REFUSED.items()]
    for seen in told(jobs, 2, tmp_path / "world"):
        for (name, (_, words)), one in zip(REFUSED.items(), seen, strict=True):
            assert words in one.refused, name
            assert not one.small
