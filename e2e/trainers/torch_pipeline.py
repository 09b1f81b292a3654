"""Pipeline parallelism with torch alone: one stage a rank, 1F1B (Narayanan et al., arXiv 2104.04473)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from e2e import network
from e2e.optimizers import clip
from e2e.trainers import Refused
from e2e.trainers.with_torch import TorchTrainer

if TYPE_CHECKING:
    from e2e.asked import Asked
    from e2e.trainers import Phase


class PipelineTrainer(TorchTrainer):
    """A stage on this rank. Its schedule does forward and backward in turns, so both are one phase."""

    notes: tuple[str, ...] = ("forward and backward are one phase: a 1F1B schedule does them in turns",)

    def __init__(self, asked: Asked, device: torch.device, accumulate: int) -> None:
        stages = asked.layout.pipeline
        if accumulate < stages:
            each = asked.batch // accumulate
            raise ValueError(
                f"batch={asked.batch}: {accumulate} micro-batches do not fill {stages} pipeline stages; at least "
                f"batch={each * stages} does"
            )
        if asked.model.tied:
            raise Refused("a tied output lies on two stages, which the torch trainer does not join; megatron does")
        super().__init__(asked, device, accumulate)
        if isinstance(self.model, nn.parallel.DistributedDataParallel):
            self.notes += ("DDP looks for weights without a gradient in each step: torch's schedules fail otherwise",)
        self._group = self.mesh["pipeline"].get_group()
        stage = PipelineStage(self.model, self._stage, stages, device, group=self._group)
        self._schedule = Schedule1F1B(stage, accumulate, loss_fn=network.mean_loss)

    @property
    def _stage(self) -> int:
        return self.mesh["pipeline"].get_local_rank()

    def _network(self) -> network.Network:
        each = self.asked.model.layers // self.asked.layout.pipeline
        begin = self._stage * each
        return network.Network(self.asked.model, self.asked.recompute, begin, begin + each)

    def _step(self, tokens: Tensor, phase: Phase) -> Tensor:
        losses: list[Tensor] = []
        with phase("forward"), self._autocast():
            if self._stage == 0:
                self._schedule.step(tokens[:, :-1])
            elif self._stage == self.asked.layout.pipeline - 1:
                self._schedule.step(target=tokens[:, 1:], losses=losses)
            else:
                self._schedule.step()
        with phase("optimizer"):
            self.looked(self.update())
        return torch.stack(losses).detach().mean() if losses else torch.zeros((), device=self.device)

    def update(self) -> Tensor:
        norm = clip(self.network.parameters(), self._group)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm
