"""The first gradient that each parameter gets in a step: a rank's own, of its first micro-batch, where a library keeps
no such thing.

Autograd hands a weight's gradient to its hooks before anything is added to it, reduced or shared out over ranks. So
what they see does not depend on what DDP, ZeRO or Megatron's buffers do with it afterwards: its square is taken there,
and nothing is kept. Hooks are set when a job is looked into, which is after its timed steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Lies:
    """How a weight lies on the ranks that share out a model. copies: of them, those that hold it all alike, so that it
    counts once. summed: those, where each has a part of its gradient only: that of a part of the positions."""

    copies: int = 1
    summed: dist.ProcessGroup | None = None


WHOLE = Lies()


class Firsts:
    """Squared norms of the first gradients, summed over a model that is shared out over `groups` of ranks."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], groups: Sequence[dist.ProcessGroup] = (),
        lies: Callable[[nn.Parameter], Lies] = lambda one: WHOLE,
    ) -> None:  # fmt: skip
        self._groups, self._held = groups, [(one, lies(one)) for one in parameters]
        self._squares: dict[int, Tensor] = {}
        self._parts: dict[int, tuple[Tensor, Lies]] = {}
        for at, (one, how) in enumerate(self._held):
            one.register_hook(self._hook(at, how))  # type: ignore[no-untyped-call]

    def _hook(self, at: int, lies: Lies) -> Callable[[Tensor], None]:
        """Of one parameter. It returns nothing, which leaves the gradient as it is."""

        def seen(gradient: Tensor) -> None:
            if at in self._squares or at in self._parts:
                return
            local, how = _local(gradient, lies)
            if how.summed is None:
                self._squares[at] = squared(local) / how.copies
            else:
                self._parts[at] = (local.detach().float().flatten().clone(), how)

        return seen

    def take(self) -> Tensor:
        """The sum since the last call, over the whole model; a float32 scalar, the same on every rank of the groups."""
        if not self._squares and not self._parts:
            raise ValueError("no parameter has got a gradient: take after backward")
        found = [*self._squares.values(), *self._of_parts()]
        self._squares, self._parts = {}, {}
        return self._over_ranks(found)

    def now(self) -> Tensor:
        """The same of the gradients that lie in the parameters, which are summed up and exchanged."""
        return self._over_ranks([squared(one.grad) / how.copies for one, how in self._held if one.grad is not None])

    def _over_ranks(self, found: list[Tensor]) -> Tensor:
        total = torch.stack(found).sum()
        for group in self._groups:
            dist.all_reduce(total, group=group)
        return total

    def _of_parts(self) -> list[Tensor]:
        """Gradients that are sums over ranks, one message for each group: norms' weights, so it is short."""
        found = []
        for how in dict.fromkeys(how for _, how in self._parts.values()):
            whole = torch.cat([self._parts[at][0] for at in sorted(self._parts) if self._parts[at][1] == how])
            dist.all_reduce(whole, group=how.summed)
            found.append(squared(whole) / how.copies)
        return found


def squared(values: Tensor) -> Tensor:
    """Sum of squares, float32 whatever the values are."""
    norm: Tensor = torch.linalg.vector_norm(values.detach(), dtype=torch.float32)
    return norm.square()


def _local(gradient: Tensor, lies: Lies) -> tuple[Tensor, Lies]:
    """A DTensor says itself how it lies."""
    if not isinstance(gradient, DTensor):
        return gradient, lies
    mesh, placements = gradient.device_mesh, gradient.placements
    copies = math.prod(mesh.size(at) for at, kind in enumerate(placements) if kind.is_replicate() or kind.is_partial())
    partial = next((mesh.get_group(at) for at, kind in enumerate(placements) if kind.is_partial()), None)
    return gradient.to_local(), Lies(copies, partial)
