"""Megatron-core's trainer on one rank and on two, however they share the work out, comes to torch's losses.

One world trains every layout after the other, so that what one leaves behind would show in the next.
"""

from __future__ import annotations

import pytest
import torch
from e2e_losses import ROUNDING, Losses, each, job, small

from e2e.layout import Layout

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")

ONE = {"one": {}, "recompute all": {"recompute": "full"}, "recompute attention": {"recompute": "selective"}}
TWO = {
    "data": {},
    "data, states shared out": {"stage": 1},
    "tensor": {"layout": Layout(tensor=2)},
    "tensor and sequence": {"layout": Layout(tensor=2, sequence=True)},
    "pipeline": {"layout": Layout(pipeline=2)},
    "data again": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Losses]:
    folder = tmp_path_factory.mktemp("worlds")
    jobs = {name: job("megatron", small(), **other) for name, other in (ONE | TWO).items()}
    first = {"torch": job("torch", small())} | {name: jobs[name] for name in ONE}
    came = dict(zip(first, each(tuple(first.values()), 1, folder / "1"), strict=True))
    return came | dict(zip(TWO, each(tuple(jobs[name] for name in TWO), 2, folder / "2"), strict=True))


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_losses_are_torchs(name: str, found: dict[str, Losses]) -> None:
    reference = found["torch"]
    assert reference.losses[-1] < 0.95 * reference.losses[0], "nothing is learned: wrong gradients would not show"
    assert found[name].off(reference) < ROUNDING


def test_a_step_is_forward_and_backward_of_each_micro_batch_and_an_update(found: dict[str, Losses]) -> None:
    """Megatron's own timers mark them: one that is renamed would leave a phase empty."""
    assert found["one"].phases == ("forward", "backward") * 4 + ("optimizer",)
    assert found["data"].phases == ("forward", "backward") * 2 + ("optimizer",)


def test_a_pipeline_runs_one_forward_one_backward(found: dict[str, Losses]) -> None:
    """The first of two stages is one micro-batch ahead. All forwards first would hold all activations."""
    between = ("forward", "backward") * 3
    assert found["pipeline"].phases == ("forward", *between, "backward", "optimizer")


def test_a_record_says_what_ran(found: dict[str, Losses]) -> None:
    """That placement was redirected above all: such times are not megatron's on a GPU."""
    one, two = " ".join(found["one"].notes), " ".join(found["data"].notes)
    assert "no GPU here" in one
    assert "redirected to host memory" in one
    assert "layers of megatron-core itself" in one
    assert "AdamW is torch's" in one
    assert "exchange of gradients" not in one
    assert "exchange of gradients" in two
