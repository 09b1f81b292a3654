"""Training with torch alone: DDP, FSDP2, tensor and pipeline parallelism, on one device mesh."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from e2e import network
from e2e.gradient_noise import Norms
from e2e.layout import check
from e2e.optimizers import Optimizers, clip
from e2e.trainers import Refused
from e2e.trainers.torch_kernels import kernels
from e2e.trainers.torch_mesh import mesh_of, shard, split

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked
    from e2e.trainers import Phase

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
        self.optimizer = Optimizers(asked, self.network, data if self._sharded else None)
        self.norms: Norms | None = None

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
            return nn.parallel.DistributedDataParallel(held, process_group=data.get_group())
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
            if self.norms is not None and index == 0:
                self.norms.observe_small(self.parameters, 1 / len(micros))
        with phase("optimizer"):
            norm = self.update()
            if self.norms is not None:
                self.norms.observe_norm(norm)
        return total

    def watch(self) -> Norms | None:
        """Take squared gradient norms from now on: of the first micro-batch, and of the step. None where a step has
        one micro-batch, or this rank holds a part of the gradients only."""
        if self.accumulate > 1 and self.asked.layout.pipeline == 1:
            apart = not self._sharded and self.data_ranks > 1  # DDP: each rank's own, before they are exchanged
            small = self.asked.micro * (1 if apart else self.data_ranks)
            group = self.mesh["data"].get_group() if apart else None
            self.norms = Norms(small, self.asked.batch, ranks=group)
        return self.norms

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
