"""Optimizers, each from torch, over the parameters of one network: their step time is part of a step's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from e2e.asked import BETAS, DECAY, EPSILON
from e2e.trainers import Refused

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked


class Optimizers:
    """One job's optimizer, which may be two: Muon is for the matrices inside the layers, AdamW then takes the rest
    (Jordan et al., Muon, 2024). mesh: data ranks that parameters are sharded over."""

    def __init__(self, asked: Asked, network: nn.Module, mesh: DeviceMesh | None) -> None:
        named = list(network.named_parameters())
        rate = asked.learning_rate
        if asked.optimizer == "adamw":
            self.held = [_adamw(named, rate, asked, mesh)]
        elif asked.optimizer == "adafactor":
            _unsharded(asked, mesh, "Adafactor's factors are of whole matrices")
            self.held = [torch.optim.Adafactor([held for _, held in named], lr=rate, weight_decay=DECAY)]
        else:
            _unsharded(asked, mesh, "Muon orthogonalises whole matrices")
            inner = [(name, held) for name, held in named if name.startswith("layers.") and held.dim() == 2]
            outer = [pair for pair in named if pair[0] not in dict(inner)]
            if not hasattr(torch.optim, "Muon"):
                raise Refused(f"torch {torch.__version__} has no Muon; torch 2.9 has")
            muon = torch.optim.Muon([held for _, held in inner], lr=rate, weight_decay=DECAY)
            self.held = [muon, _adamw(outer, rate, asked, mesh)]

    def step(self) -> None:
        for each in self.held:
            each.step()

    def zero_grad(self) -> None:
        for each in self.held:
            each.zero_grad()


def groups(named: list[tuple[str, nn.Parameter]]) -> list[dict[str, object]]:
    """Matrices decay, vectors do not."""
    return [
        {"params": [held for _, held in named if held.dim() >= 2], "weight_decay": DECAY},
        {"params": [held for _, held in named if held.dim() < 2], "weight_decay": 0.0},
    ]


def _adamw(
    named: list[tuple[str, nn.Parameter]], rate: float, asked: Asked, mesh: DeviceMesh | None
) -> torch.optim.Optimizer:  # fmt: skip
    """Fused, as who trains for speed has it. At stage 1 its states are shared out over the data ranks."""
    shared = {"lr": rate, "betas": BETAS, "eps": EPSILON, "fused": True}
    if asked.stage == 1 and torch.distributed.get_world_size() > 1:
        from torch.distributed.optim import ZeroRedundancyOptimizer

        held = [one for one in groups(named) if one["params"]]
        return ZeroRedundancyOptimizer(held, torch.optim.AdamW, **shared)  # type: ignore[arg-type]
    return torch.optim.AdamW([one for one in groups(named) if one["params"]], **shared)  # type: ignore[arg-type]


def _unsharded(asked: Asked, mesh: DeviceMesh | None, why: str) -> None:
    """Refused where a rank holds parts of matrices."""
    if asked.stage:
        raise Refused(f"{asked.optimizer} at stage {asked.stage}: {why}, and torch's own takes no shards: use stage 0")
    if asked.layout.tensor > 1:
        raise Refused(f"{asked.optimizer} with tensor={asked.layout.tensor}: {why}: use tensor=1")
