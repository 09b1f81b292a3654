"""Optimizers, each from torch, over the parameters of one network: their step time is part of a step's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from e2e.asked import BETAS, CLIP, DECAY, EPSILON
from e2e.gradient_noise import squared_norm
from e2e.trainers import Refused

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked


class Optimizers:
    """One job's optimizer, which may be two: Muon is for the matrices inside the layers, AdamW then takes the rest
    (Jordan et al., Muon, 2024). mesh: the data ranks."""

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
    """Matrices decay, vectors do not; parameters on different meshes do not mix, as torch's operations on lists of
    tensors have it."""
    held: dict[tuple[object, bool], list[nn.Parameter]] = {}
    for _, one in named:
        held.setdefault((getattr(one, "device_mesh", None), one.dim() >= 2), []).append(one)
    return [{"params": those, "weight_decay": DECAY if wide else 0.0} for (_, wide), those in held.items()]


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], stages: dist.ProcessGroup | None = None) -> Tensor:
    """Scale gradients down to a norm of at most CLIP over all ranks; the norm before. stages: ranks of a pipeline, each
    with parameters of its own."""
    held = list(parameters)
    total = squared_norm(held)
    if stages is not None:
        dist.all_reduce(total, group=stages)
    norm = total.sqrt()
    scale = (CLIP / (norm + 1e-6)).clamp(max=1.0)
    found = [one.grad for one in held if one.grad is not None]
    local = [one.to_local() if isinstance(one, DTensor) else one for one in found]
    torch._foreach_mul_(local, scale.to(local[0].device))  # offloaded gradients lie on the host
    return norm


def _adamw(
    named: list[tuple[str, nn.Parameter]], rate: float, asked: Asked, mesh: DeviceMesh | None
) -> torch.optim.Optimizer:  # fmt: skip
    """Fused, as who trains for speed has it. At stage 1 its states are shared out over the data ranks."""
    shared = {"lr": rate, "betas": BETAS, "eps": EPSILON, "fused": True}
    if asked.stage == 1 and mesh is not None and mesh.size() > 1:
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return ZeroRedundancyOptimizer(  # over data ranks: others hold other weights
            groups(named),
            torch.optim.AdamW,
            mesh.get_group(),
            **shared,  # type: ignore[arg-type]
        )
    return torch.optim.AdamW(groups(named), **shared)  # type: ignore[arg-type]


def _unsharded(asked: Asked, mesh: DeviceMesh | None, why: str) -> None:
    """Refused where a rank holds parts of matrices."""
    if asked.stage:
        raise Refused(f"{asked.optimizer} at stage {asked.stage}: {why}, and torch's own takes no shards: use stage 0")
    if asked.layout.tensor > 1:
        raise Refused(f"{asked.optimizer} with tensor={asked.layout.tensor}: {why}: use tensor=1")
