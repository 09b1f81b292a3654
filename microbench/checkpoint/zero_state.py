"""The state of training as DeepSpeed keeps it under ZeRO: flat partitions of master weights and moments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from microbench.checkpoint.engines import FAST, UNIVERSAL
from microbench.checkpoint.model import VOCABULARY, build, sizes
from microbench.checkpoint.state import MOMENTS, Shape, TrainingState, connect, number, whole

if TYPE_CHECKING:
    import torch

RATE = 1e-4


class ZeroState(TrainingState):
    """The same model, data and optimizer in an engine of DeepSpeed's, which saves and loads it by itself. `tensors`
    are this rank's partitions; `fill` and `differences` are of whole parameters and moments, whoever has which part."""

    def __init__(self, shape: Shape, checkpoint: Mapping[str, Any] | None = None) -> None:
        """checkpoint: DeepSpeed's settings of how checkpoints are written and read."""
        import torch

        if shape.device == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed takes what it finds, where it is not told

        self.shape, self.device = shape, connect(shape.device)
        import deepspeed

        torch.manual_seed(shape.seed)  # the same model on every rank
        self.model = build(sizes(shape.size))
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": int(shape.sharding.removeprefix("zero"))},
            "checkpoint": dict(checkpoint or {}),
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
        import torch
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if not any("exp_avg" in state for state in self.engine.optimizer.optimizer.state.values()):
            self.step()  # moments are made in the first one
        self._link()
        for name, parameter in self.engine.module.named_parameters():
            safe_set_full_fp32_param(parameter, self._whole(f"model.{name}", parameter, step))
            for part in MOMENTS:
                whole = self._whole(f"optimizer.{part}.{name}", parameter, step)
                safe_set_full_optimizer_state(parameter, whole, part)
        for state in self.engine.optimizer.optimizer.state.values():
            state["step"] = torch.as_tensor(float(step), device=state["exp_avg"].device)
        self._random.manual_seed(number(f"{self.shape.seed} {step} random"))
        self._progress.copy_(torch.tensor([step, 7 * step, self.shape.seed]))

    def differences(self, step: int) -> list[str]:
        import torch
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        wrong = []
        self._link()
        for name, parameter in self.engine.module.named_parameters():
            held = {f"model.{name}": safe_get_full_fp32_param(parameter)}
            for part in MOMENTS:
                held[f"optimizer.{part}.{name}"] = safe_get_full_optimizer_state(parameter, part)
            wrong += [n for n, t in held.items() if not torch.equal(t, self._whole(n, parameter, step))]
        steps = [float(state["step"]) for state in self.engine.optimizer.optimizer.state.values()]
        wrong += ["optimizer.step"] if any(one != step for one in steps) or not steps else []
        return wrong + self._small_differences(step)

    def _link(self) -> None:
        """Under ZeRO 2 a load makes new moments, and parameters still point to what was there before, or nothing."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        optimizer = self.engine.optimizer
        if self.shape.sharding == "zero2":
            for group, master in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
                lazy_init_hp_params_optimizer_state(group, master, optimizer.optimizer.state)

    def _whole(self, name: str, parameter: torch.nn.Parameter, step: int) -> torch.Tensor:
        shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)  # under ZeRO 3 what is held is a part
        return whole(name, shape, self.shape.seed, step).to(self.device)

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


def make(shape: Shape, engine: str) -> TrainingState:
    """The state of that shape, for that engine."""
    if shape.sharding.startswith("zero"):
        return ZeroState(shape, _settings(shape, engine))
    return TrainingState(shape)


def _settings(shape: Shape, engine: str) -> dict[str, Any]:
    """Universal: loaded in that form, and in no other."""
    if engine == FAST:
        from microbench.checkpoint.engines import fastpersist

        return fastpersist.settings(shape.device)
    return {"load_universal": engine == UNIVERSAL}
