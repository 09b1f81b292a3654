"""The state of training as DeepSpeed keeps it under ZeRO: flat partitions of master weights and moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from microbench.checkpoint.model import VOCABULARY, build, sizes
from microbench.checkpoint.state import Shape, TrainingState, connect

if TYPE_CHECKING:
    import torch

RATE = 1e-4


class ZeroState(TrainingState):
    """The same model, data and optimizer in an engine of DeepSpeed's, which saves and loads it by itself. `tensors`
    are this rank's partitions. Content is of training: there is none that follows from a step alone."""

    def __init__(self, shape: Shape) -> None:
        import torch

        self.shape, self.device = shape, connect(shape.device)
        import deepspeed

        torch.manual_seed(shape.seed)  # the same model on every rank
        self.model = build(sizes(shape.size))
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": int(shape.sharding.removeprefix("zero"))},
        }
        adam = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        self.engine: Any = deepspeed.initialize(model=self.model, optimizer=adam, config=config)[0]
        self._random = torch.Generator().manual_seed(shape.seed)
        self._progress = torch.tensor([0, 0, shape.seed])

    @property
    def bytes(self) -> int:
        """Of master weights and moments over all ranks, with what pads them to equal parts."""
        import torch

        mine = sum(t.numel() * t.element_size() for n, t in self._large() if not n.startswith("model."))
        return mine * torch.distributed.get_world_size()

    def step(self) -> float:
        import torch

        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        drawn = torch.randint(VOCABULARY, (world, self.shape.sequence + 1), generator=self._random)
        tokens = drawn[rank].to(self.device)[None]
        logits = self.engine(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        self.engine.backward(loss)
        self.engine.step()
        self._progress += torch.tensor([1, len(drawn), 0])
        return float(loss.detach())

    def fill(self, step: int) -> None:
        raise NotImplementedError("DeepSpeed's partitions are filled by training")

    def _large(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Master weights and moments by group; weights that the model computes with."""
        optimizer, stage = self.engine.optimizer, int(self.shape.sharding.removeprefix("zero"))
        masters = optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups
        for index, master in enumerate(masters):
            yield f"master.{index}", master.detach()
            for key, value in sorted(optimizer.optimizer.state[master].items()):
                yield f"optimizer.{key}.{index}", value
        for name, parameter in self.engine.module.named_parameters():
            yield f"model.{name}", (parameter.ds_tensor if stage == 3 else parameter).detach()


def make(shape: Shape) -> TrainingState:
    """The state of that shape."""
    return ZeroState(shape) if shape.sharding.startswith("zero") else TrainingState(shape)
