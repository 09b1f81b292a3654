"""FSDP2's exchange of gradients, watched: there, each data rank's own gradient is whole, before it is shared out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from e2e.first_gradients import squared


class Scatter:
    """What FSDP2 takes for a reduce-scatter (`FSDPModule.set_custom_reduce_scatter`): torch's own, and the squared norm
    of what goes in. It is of one step's gradient of this data rank, over all micro-batches that were summed up."""

    def __init__(self, modules: Sequence[nn.Module], groups: Sequence[dist.ProcessGroup] = ()) -> None:
        """groups: ranks with other parts of the model."""
        self._groups = groups
        self._squares: list[Tensor] = []
        for each in modules:
            each.set_custom_reduce_scatter(self)  # type: ignore[operator]

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What goes in, padded by FSDP2 with zeros, and what comes out."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, op: dist.ReduceOp,
        async_op: bool = False,
    ) -> dist.Work | None:  # fmt: skip
        self._squares.append(squared(input_tensor))
        scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        done: dist.Work | None = scatter(output_tensor, input_tensor, group=group, op=op, async_op=async_op)
        return done

    def take(self) -> Tensor:
        """The sum since the last call, over the whole model; a float32 scalar."""
        total, self._squares = torch.stack(self._squares).sum(), []
        for each in self._groups:
            dist.all_reduce(total, group=each)
        return total
