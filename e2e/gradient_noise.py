"""Squared norms of gradients during any training job; the gradient noise scale is estimated when they are read.

Two gradients at the same weights, of batches of different size, are enough for an unbiased estimate of tr(Σ) and |G|²
(McCandlish et al., arXiv 1812.06162, appendix A.1; `harness.noise_scale`). A job has both at hand:

- with several micro-batches, the first one's gradient, before the others are added to it, against the whole step's;
- with several data ranks, each rank's own gradient before they are exchanged, against the mean over ranks.

Where a library keeps the first of the two to itself, `e2e.first_gradients` takes it from autograd. Each is read once,
and nothing waits for the device: norms stay there until `pairs` fetches them. The only message is of one number, where
a gradient is sharded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from harness.records import Better, Evidence, Measurement, Origin, Params
from harness.units import Unit

ONE = "a step is one micro-batch on one data rank, so there is only one gradient: take a smaller micro_batch"
"""Why a job has no noise scale."""


@dataclass
class Norms:
    """b_small, b_big: sequences that the two gradients are means over. ranks: where the small gradient is each data
    rank's own, their group, over which its squared norm is averaged; else None.

    Use: `observe_small` after the first micro-batch's backward, then `observe_big` before the optimizer (and before
    clipping, which would scale one of the two), or `observe_norm` with what clipping found."""

    b_small: float
    b_big: float
    ranks: dist.ProcessGroup | None = None
    _small: list[Tensor] = field(default_factory=list)
    _big: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.b_small < self.b_big:
            raise ValueError(
                f"b_small={self.b_small:g} must be positive and below b_big={self.b_big:g}: with one micro-batch on "
                "one data rank there is only one gradient a step; take a smaller micro-batch"
            )

    def observe_small(self, parameters: Iterable[Tensor], scale: float = 1.0) -> None:
        """scale: what the gradients are of the mean over b_small sequences: 1/k where k micro-batches are summed up
        with a loss divided by k."""
        self.observe_square(squared_norm(parameters), scale)

    def observe_square(self, found: Tensor, scale: float = 1.0) -> None:
        """The small gradient's squared norm, where it is known without the gradient."""
        found = found / scale**2
        if self.ranks is not None:
            dist.all_reduce(found, group=self.ranks)
            found /= dist.get_world_size(self.ranks)
        self._small.append(found)

    def observe_big(self, parameters: Iterable[Tensor], scale: float = 1.0) -> None:
        """The same of the whole step's gradients."""
        self._big.append(squared_norm(parameters) / scale**2)

    def observe_norm(self, norm: Tensor) -> None:
        """The norm of the whole step's gradients, where clipping has it already."""
        self._big.append(norm.detach() ** 2)

    def pairs(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Squared norms of all observed steps, (small, big). Waits for the device."""
        if len(self._small) != len(self._big):
            raise ValueError(f"{len(self._small)} small gradients were observed, and {len(self._big)} big ones")
        if not self._small:
            return (), ()
        return tuple(torch.stack(self._small).tolist()), tuple(torch.stack(self._big).tolist())

    def measurements(self, origin: Origin, flags: tuple[str, ...] = ()) -> list[Measurement]:
        """gradient_small and gradient_big, a sample for each observed step; none where nothing was observed."""
        return measurements(*self.pairs(), self.b_small, self.b_big, origin, flags)


def measurements(
    small: tuple[float, ...], big: tuple[float, ...], b_small: float, b_big: float, origin: Origin,
    flags: tuple[str, ...] = (), params: Params | None = None,
) -> list[Measurement]:  # fmt: skip
    """Pairs of squared norms, as records hold them: loss² a weight², whatever the loss, so without a unit."""
    named: Params = {**(params or {}), "b_small": b_small, "b_big": b_big}
    return [
        Measurement(
            metric, Unit.RATIO, Better.LOWER, samples, origin, params=named,
            evidence=Evidence(stopped="all steps done", flags=flags),
        )
        for metric, samples in (("gradient_small", small), ("gradient_big", big)) if samples
    ]  # fmt: skip


@torch.no_grad()
def squared_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Sum of squares of all gradients, a float32 scalar on their device; of the whole model where parameters are
    sharded over a mesh. Parameters without a gradient count nothing."""
    kinds: dict[object, list[Tensor]] = {}
    for one in parameters:
        if one.grad is not None:
            held = _summed(one.grad)
            layout = (held.device_mesh, held.placements) if isinstance(held, DTensor) else None
            kinds.setdefault(layout, []).append(held)
    if not kinds:
        raise ValueError("no parameter has a gradient: observe after backward, before gradients are cleared")
    return torch.stack([_of_one_kind(those) for those in kinds.values()]).sum()


def _summed(gradient: Tensor) -> Tensor:
    """Of weights that all tensor ranks hold, where each saw a part of the positions, autograd leaves the sum undone."""
    if not isinstance(gradient, DTensor) or not any(one.is_partial() for one in gradient.placements):
        return gradient
    return gradient.redistribute(placements=[Replicate() if one.is_partial() else one for one in gradient.placements])


def _of_one_kind(gradients: list[Tensor]) -> Tensor:
    """Gradients that are all plain, or all sharded alike: local squares, summed over the mesh where it cuts them."""
    first = gradients[0]
    local = [one.to_local() if isinstance(one, DTensor) else one for one in gradients]
    total = torch.stack(torch._foreach_norm(local, 2.0, torch.float32)).square().sum()
    if isinstance(first, DTensor):
        total = total.to(first.device_mesh.device_type)  # offloaded gradients lie on the host, where NCCL cannot go
        for dimension, placement in enumerate(first.placements):
            if not placement.is_replicate():  # is_shard is not true of every kind that two dimensions cut
                dist.all_reduce(total, group=first.device_mesh.get_group(dimension))
    return total
