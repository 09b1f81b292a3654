"""Squared gradient norms that trainers tell on real ranks, and what they have to be, from plain gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist

from e2e import data, network, trainers
from e2e.asked import Asked
from harness import children
from harness.child import Place
from harness.records import Struct

STEPS = 3
Rows = Sequence[int]


class Spec(Struct, frozen=True):
    """jobs: one after the other in one world."""

    jobs: tuple[Asked, ...]


class Seen(Struct, frozen=True):
    """refused: in words why there are no two gradients; else squared norms of each step."""

    small: tuple[float, ...] = ()
    big: tuple[float, ...] = ()
    b_small: float = 0.0
    b_big: float = 0.0
    refused: str = ""


class Told(Struct, frozen=True):
    jobs: tuple[Seen, ...]


def told(jobs: Sequence[Asked], ranks: int, folder: Path) -> list[tuple[Seen, ...]]:
    """What every rank was told of each job. folder: a new one."""
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work("e2e_norms:observe", Spec(tuple(jobs)), ranks, environment={"PYTHONPATH": here})
    ended = children.run(work, folder, 240.0)
    assert all(one.ok for one in ended), "\n".join(f"{one.reason}\n{one.log}" for one in ended if not one.ok)
    return [msgspec.json.decode(one.result, type=Told).jobs for one in ended]


def observe(place: Place) -> Told:
    """On every rank."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dist.init_process_group("gloo")
    found = tuple(_observed(asked) for asked in place.read(Spec).jobs)
    dist.barrier()
    dist.destroy_process_group()
    return Told(found)


def _observed(asked: Asked) -> Seen:
    trainer = trainers.build(asked, torch.device("cpu"))
    norms = trainer.watch()
    if isinstance(norms, str):
        trainer.close()
        return Seen(refused=norms)
    for step in range(STEPS):
        trainer.step(tokens(asked, step, trainer.data_rank, trainer.data_ranks), trainers.unmarked)
    small, big = norms.pairs()
    trainer.close()
    return Seen(small, big, norms.b_small, norms.b_big)


def tokens(asked: Asked, step: int, rank: int = 0, ranks: int = 1) -> torch.Tensor:
    length = asked.sequence + 1
    return torch.from_numpy(data.batch(asked.seed, step, asked.batch, rank, ranks, length, asked.model.vocabulary))


def exact(asked: Asked, parts: Sequence[Rows]) -> dict[str, Any]:
    """Of a plain network in float32 that torch's AdamW trains on the whole batch at once: small is the mean, over
    `parts`, of the squared norm of the gradient of the mean loss over a part's sequences."""
    from e2e.optimizers import Optimizers, clip

    held = network.Network(asked.model)
    network.fill(held, asked.seed)
    optimizer = Optimizers(msgspec.structs.replace(asked, stage=0), held, None)

    def norm(rows: torch.Tensor) -> float:
        optimizer.zero_grad()
        network.mean_loss(held(rows[:, :-1]), rows[:, 1:]).backward()
        return sum(float(one.grad.double().square().sum()) for one in held.parameters() if one.grad is not None)

    small, big = [], []
    for step in range(STEPS):
        whole = tokens(asked, step)
        small.append(sum(norm(whole[list(rows)]) for rows in parts) / len(parts))
        big.append(norm(whole))
        clip(held.parameters())
        optimizer.step()
    return {"small": tuple(small), "big": tuple(big), "b_small": len(parts[0]), "b_big": asked.batch}
