"""Training with torch alone: DDP, FSDP2, tensor and pipeline parallelism, on one device mesh."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from e2e import network
from e2e.layout import check
from e2e.optimizers import Optimizers, clip
from e2e.trainers import Refused
from e2e.trainers.torch_kernels import kernels
from e2e.trainers.torch_mesh import mesh_of, shard, split
from e2e.trainers.torch_watch import watch

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked
    from e2e.first_gradients import Firsts
    from e2e.gradient_noise import Norms
    from e2e.trainers import Phase
    from e2e.trainers.torch_scatter import Scatter

WRAPPED = {"bfloat16": torch.bfloat16}


def build(asked: Asked, device: torch.device) -> TorchTrainer:
    """The trainer. Refused for what this project does not do with torch alone, or torch cannot."""
    layout = asked.layout
    if layout.expert > 1 or layout.context > 1:
        raise Refused(f"{layout.words}: the torch trainer shares out neither experts nor sequences; megatron does")
    if asked.dtype == "float8":
        raise Refused("float8 needs a library of scaled products (torchao, Transformer Engine), which is not used here")
    if asked.offload != "none" and asked.stage < 2:
        raise Refused(f"offload of a replicated model: FSDP2 offloads what it shards, stage 2 or 3, not {asked.stage}")
    world = dist.get_world_size()
    accumulate = check(asked.model, layout, world, asked.batch, asked.micro, asked.sequence)
    if layout.tensor > 1 and layout.data(world) > 1 and asked.stage < 2:
        raise Refused(
            f"tensor={layout.tensor} on {layout.data(world)} data ranks at stage {asked.stage}: torch's DDP takes no "
            "DTensor, which tensor parallelism makes; use stage 2 or 3, which is FSDP2, or megatron"
        )
    if layout.pipeline > 1:
        from e2e.trainers.torch_pipeline import PipelineTrainer

        return PipelineTrainer(asked, device, accumulate)
    return TorchTrainer(asked, device, accumulate)


class TorchTrainer:
    """A whole model on each rank, sharded or replicated over data ranks and divided over tensor ranks."""

    notes: tuple[str, ...] = ()

    def __init__(self, asked: Asked, device: torch.device, accumulate: int) -> None:
        self.asked, self.device, self.accumulate = asked, device, accumulate
        self.mesh = mesh_of(asked.layout, dist.get_world_size(), device.type)
        data = self.mesh["data"]
        self.data_rank, self.data_ranks = data.get_local_rank(), data.size()
        with torch.device("meta"):
            self.network = self._network()
        self.model = self._placed(data)
        self.optimizer = Optimizers(asked, self.network, data)
        self.norms: Norms | None = None
        self._first: Firsts | Scatter | None = None
        self._scale = 1.0

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    @property
    def _sharded(self) -> bool:
        return self.asked.stage >= 2

    def _network(self) -> network.Network:
        return network.Network(self.asked.model, self.asked.recompute)

    def _placed(self, data: DeviceMesh) -> nn.Module:
        """What is called: divided over tensor ranks first, then over data ranks. Drawn in place."""
        asked, held = self.asked, self.network
        if asked.layout.tensor > 1:
            split(held, self.mesh["tensor"], asked.model, asked.layout.sequence)
        if asked.compile:
            for each in held.layers.values():
                each.compile()
        if self._sharded:
            shard(held, data, asked, whole=asked.stage == 2)
        where = "cpu" if asked.offload == "cpu" and self._sharded else self.device
        held.to_empty(device=where)
        network.fill(held, asked.seed)
        if not self._sharded and self.data_ranks > 1:
            staged = asked.layout.pipeline > 1  # else torch's schedules trip DDP up in its second step, when it orders
            return nn.parallel.DistributedDataParallel(  # its buckets anew
                held, process_group=data.get_group(), find_unused_parameters=staged
            )
        return held

    def step(self, tokens: Tensor, phase: Phase) -> Tensor:
        with kernels(self.asked.kernel):
            return self._step(tokens, phase)

    def _step(self, tokens: Tensor, phase: Phase) -> Tensor:
        total = torch.zeros((), device=self.device)
        micros = torch.split(tokens, self.asked.micro)
        for index, micro in enumerate(micros):
            last = index == len(micros) - 1
            with self._synchronised(last):
                with phase("forward"), self._autocast():
                    loss = network.mean_loss(self.model(micro[:, :-1]), micro[:, 1:]) / len(micros)
                with phase("backward"):
                    loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if self.norms is not None and self._first is None and index == 0:
                self.norms.observe_small(self.parameters, self._scale)
        with phase("optimizer"):
            self.looked(self.update())
        return total

    def watch(self) -> Norms | str:
        """Take squared gradient norms from now on; or in words why there are none."""
        found = watch(self.asked, self.network, self.mesh, self.accumulate)
        if isinstance(found, str):
            return found
        self.norms, self._first, self._scale = found.norms, found.first, found.scale
        return found.norms

    def looked(self, norm: Tensor) -> None:
        """At the end of a step whose gradient had that norm."""
        if self.norms is None:
            return
        if self._first is not None:
            self.norms.observe_square(self._first.take(), self._scale)
        self.norms.observe_norm(norm)

    def update(self) -> Tensor:
        """Clip, step, forget the gradients; their norm before they were clipped."""
        norm = clip(self.network.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _autocast(self) -> AbstractContextManager[object]:
        """Products in the data type asked for, where FSDP2's policy does not see to it."""
        kind = WRAPPED.get(self.asked.dtype)
        if kind is None or self._sharded:
            return nullcontext()
        return torch.autocast(self.device.type, kind)

    def _synchronised(self, last: bool) -> AbstractContextManager[object]:
        """Gradients are exchanged once a step."""
        if isinstance(self.model, nn.parallel.DistributedDataParallel):
            return nullcontext() if last else self.model.no_sync()
        if self._sharded and self.accumulate > 1:
            watched = self.norms is not None  # then the first micro-batch's gradient is exchanged too
            self.network.set_requires_gradient_sync(last or watched)  # type: ignore[operator]
        return nullcontext()

    def close(self) -> None:
        return
