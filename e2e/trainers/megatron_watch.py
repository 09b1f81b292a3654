"""How megatron-core shares weights out, for norms of gradients that it has not summed up yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch import nn

from e2e.first_gradients import Firsts, Lies

if TYPE_CHECKING:
    from e2e.layout import Layout


def firsts(parameters: Iterable[nn.Parameter], layout: Layout) -> tuple[Firsts, dist.ProcessGroup]:
    """(what takes the first gradients of the whole model, the data ranks). Megatron marks the weights that tensor ranks
    divide; the others are alike on all of them, and their gradients are too, but for those that it marks as of a part
    of the positions."""
    from megatron.core import parallel_state

    tensor = parallel_state.get_tensor_model_parallel_group()

    def lies(one: nn.Parameter) -> Lies:
        if layout.tensor == 1 or getattr(one, "tensor_model_parallel", False):
            return Lies()
        return Lies(layout.tensor, tensor if getattr(one, "sequence_parallel", False) else None)

    groups = [tensor] if layout.tensor > 1 else []
    if layout.pipeline > 1:
        groups.append(parallel_state.get_pipeline_model_parallel_group())
    return Firsts(parameters, groups, lies), parallel_state.get_data_parallel_group()
