"""Which two gradients of a step the torch trainer shows, for the gradient noise scale: by how it divides the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.first_gradients import Firsts
from e2e.gradient_noise import ONE, Norms
from e2e.trainers.torch_scatter import Scatter

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked
    from e2e.network import Network


@dataclass(frozen=True)
class Watch:
    """first: what knows the small gradient's norm at the end of a step; None where the parameters hold that gradient
    after the first micro-batch. scale: of that gradient, as `Norms` has it."""

    norms: Norms
    first: Firsts | Scatter | None = None
    scale: float = 1.0


def watch(asked: Asked, network: Network, mesh: DeviceMesh, accumulate: int) -> Watch | str:
    """How; or in words why there are no two gradients to be had."""
    data, staged = mesh["data"], asked.layout.pipeline > 1
    if accumulate == 1 and data.size() == 1:
        return ONE
    if asked.stage >= 2 and (staged or accumulate == 1):
        return _scattered(asked, network, mesh, accumulate)
    apart = asked.stage < 2 and data.size() > 1  # DDP: each rank's own, before they are exchanged
    small = asked.micro * (1 if apart else data.size())
    norms = Norms(small, asked.batch, ranks=data.get_group() if apart else None)
    if accumulate > 1 and not staged:
        return Watch(norms, scale=1 / accumulate)
    groups = [mesh[name].get_group() for name in ("tensor", "pipeline") if mesh[name].size() > 1]
    return Watch(norms, Firsts(network.parameters(), groups))  # a pipeline's schedule divides at its end only


def _scattered(asked: Asked, network: Network, mesh: DeviceMesh, accumulate: int) -> Watch | str:
    """FSDP2 where the first micro-batch's gradient is never in the parameters: each data rank's own, of all its
    micro-batches, goes into the exchange."""
    data, stages = mesh["data"], mesh["pipeline"]
    if data.size() == 1:
        return "FSDP2 exchanges nothing on one data rank, and a pipeline's stage holds no gradient before: use stage 0"
    if mesh["tensor"].size() > 1:
        return (
            "FSDP2 exchanges what tensor ranks share out and what each of them holds in one piece, so that neither can "
            "be counted: use stage 0 or 1, or two micro-batches without a pipeline"
        )
    if not hasattr(network, "set_custom_reduce_scatter"):
        return "this torch's FSDP2 shows no rank's own gradient: use a newer torch, or two micro-batches"
    groups = [stages.get_group()] if stages.size() > 1 else []
    norms = Norms(asked.batch / data.size(), asked.batch, ranks=data.get_group())
    first = Scatter([*network.layers.values(), network], groups)
    return Watch(norms, first, accumulate if stages.size() > 1 else 1.0)
