"""A trainer run on real ranks, and the losses it comes to: what tests hold trainers against each other by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from e2e.asked import Asked
from e2e.layout import Layout
from harness import children, models
from harness.child import Place
from harness.models import Model
from harness.records import Struct

STEPS, SEQUENCE, BATCH, RATE = 20, 32, 8, 1e-2
LIMIT = 240.0  # s for one world; a hang is a failure


class Spec(Struct, frozen=True):
    """builds: how often the trainer is built, trained and closed in one process; the last one's losses count."""

    asked: Asked
    steps: int = STEPS
    builds: int = 1


class Losses(Struct, frozen=True):
    """losses: of each step, the mean over all its tokens. notes: of the trainer."""

    losses: tuple[float, ...]
    notes: tuple[str, ...]


def small(name: str = "tiny", **other: Any) -> Model:
    """A shipped model, so small that 20 steps of it take about a second."""
    shape = {"layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 96, "vocabulary": 256}
    return msgspec.structs.replace(models.load(name), **{**shape, **other})


def job(trainer: str, model: Model, layout: Layout | None = None, **other: Any) -> Asked:
    """float32, 8 sequences of 32 tokens in micro-batches of 2, and a rate at which the loss falls."""
    given = {"dtype": "float32", "micro": 2, "batch": BATCH, "sequence": SEQUENCE, "learning_rate": RATE, **other}
    return Asked(trainer=trainer, model=model, layout=layout or Layout(), **given)


def run(asked: Asked, ranks: int, folder: Path, **spec: Any) -> list[children.Ended]:
    """A world of that many ranks; it finds this module beside the tests. folder: a new one."""
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work("e2e_losses:train", Spec(asked, **spec), ranks, environment={"PYTHONPATH": here})
    return children.run(work, folder, LIMIT)


def losses(asked: Asked, ranks: int, folder: Path, **spec: Any) -> Losses:
    """What the world came to; its own words where it failed."""
    ended = run(asked, ranks, folder, **spec)
    assert all(one.ok for one in ended), "\n".join(f"{one.reason}\n{one.log}" for one in ended if not one.ok)
    return msgspec.json.decode(ended[0].result, type=Losses)


def train(place: Place) -> Losses:
    """On every rank."""
    import torch
    import torch.distributed as dist

    spec = place.read(Spec)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dist.init_process_group("gloo")
    for _ in range(spec.builds):
        found = _trained(spec)
    dist.destroy_process_group()
    return found


def _trained(spec: Spec) -> Losses:
    """All ranks of a pipeline's last stage see a loss, the others give 0: so many share out the sum."""
    import torch
    import torch.distributed as dist

    from e2e import data, trainers

    asked, held = spec.asked, []
    trainer = trainers.build(asked, torch.device("cpu"))
    seeing = dist.get_world_size() // asked.layout.pipeline
    for step in range(spec.steps):
        share = (trainer.data_rank, trainer.data_ranks, asked.sequence + 1, asked.model.vocabulary)
        tokens = torch.from_numpy(data.batch(asked.seed, step, asked.batch, *share))
        whole = trainer.step(tokens, trainers.unmarked).detach().double()
        dist.all_reduce(whole)
        held.append(whole.item() / seeing)
    trainer.close()
    return Losses(tuple(held), trainer.notes)
