"""Norms for the gradient noise scale: of plain, accumulated and sharded gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from e2e.gradient_noise import Norms, squared_norm
from harness.child import Place
from harness.children import Work, run
from harness.noise_scale import estimate
from harness.records import Origin, Struct
from harness.units import Unit


def with_gradients(*shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    held = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for one in held:
        one.grad = torch.randn(one.shape, generator=draw)
    return held


def test_norm_is_that_of_all_gradients_together() -> None:
    held = with_gradients((3, 4), (5,), ())
    expected = torch.cat([one.grad.flatten() for one in held if one.grad is not None]).square().sum()
    held.append(nn.Parameter(torch.zeros(7)))  # it took no part in this step
    assert squared_norm(held).item() == pytest.approx(expected.item(), rel=1e-5)


def test_bfloat16_gradients_are_summed_in_float32() -> None:
    one = nn.Parameter(torch.zeros(100_000, dtype=torch.bfloat16))
    one.grad = torch.full_like(one, 0.1)
    assert squared_norm([one]).item() == pytest.approx(100_000 * float(one.grad[0]) ** 2, rel=1e-4)


def test_nothing_to_observe_is_named() -> None:
    with pytest.raises(ValueError, match="observe after backward"):
        squared_norm([nn.Parameter(torch.zeros(2))])
    with pytest.raises(ValueError, match="take a smaller micro-batch"):
        Norms(8, 8)
    odd = Norms(1, 2)
    odd.observe_small(with_gradients((3,)))
    with pytest.raises(ValueError, match="1 small gradients"):
        odd.pairs()


def test_micro_batches_give_the_noise_scale_of_a_known_problem() -> None:
    """Mean of d normal rows: the gradient at w is w - mean(x), so |G|² = |w|² and tr(Σ) = d. A scale that is forgotten,
    or a small gradient that holds the whole step, is off by factors."""
    d, micro, count = 40, 4, 5
    weights = nn.Parameter(torch.full((d,), 0.5))
    norms, draw = Norms(micro, micro * count), torch.Generator().manual_seed(1)
    for _ in range(400):
        weights.grad = None
        for number in range(count):
            rows = torch.randn(micro, d, generator=draw)
            (((weights - rows) ** 2).sum(1).mean() / 2 / count).backward()
            if number == 0:
                norms.observe_small([weights], scale=1 / count)
        norms.observe_big([weights])
    known = estimate(*norms.pairs(), norms.b_small, norms.b_big)
    assert known.low <= d / (d * 0.25) <= known.high
    assert known.width < 0.35
    small, big = norms.measurements(Origin.MEASURED)
    assert (small.metric, big.metric, small.unit) == ("gradient_small", "gradient_big", Unit.RATIO)
    assert small.params == {"b_small": 4, "b_big": 20}
    assert len(small.samples) == 400


class Told(Struct, frozen=True):
    """fsdp, whole: squared norm of the same gradients, sharded and not. small: mean over ranks of their own."""

    fsdp: float
    whole: float
    small: float
    each: float


def rank(place: Place) -> Told:
    """One of two ranks: FSDP2 shards, and gradients before they are exchanged."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    sharded = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    sharded.load_state_dict(plain.state_dict())
    fully_shard(sharded[0])
    fully_shard(sharded)
    rows = torch.randn(2, 6, 7)
    sharded(rows[place.rank]).square().mean().backward()
    plain(rows[place.rank]).square().mean().backward()
    each = squared_norm(plain.parameters()).item()
    norms = Norms(6, 12, ranks=dist.group.WORLD)
    norms.observe_small(plain.parameters())
    for one in plain.parameters():
        assert one.grad is not None
        dist.all_reduce(one.grad)
        one.grad /= 2
    norms.observe_big(plain.parameters())
    (small,), (whole,) = norms.pairs()
    told = Told(squared_norm(sharded.parameters()).item(), whole, small, each)
    dist.destroy_process_group()
    return told


def test_sharded_gradients_have_the_norm_of_the_whole_model(tmp_path: Path) -> None:
    ended = run(Work(f"{__name__}:rank", Told(0, 0, 0, 0), ranks=2, environment=PATH), tmp_path / "world", 120)
    assert all(one.ok for one in ended), [one.log for one in ended]
    import msgspec

    first, second = (msgspec.json.decode(one.result, type=Told) for one in ended)
    assert first.fsdp == pytest.approx(first.whole, rel=1e-5)
    assert first.fsdp == second.fsdp
    assert first.small == pytest.approx((first.each + second.each) / 2, rel=1e-5)
    assert first.each != second.each


PATH = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
