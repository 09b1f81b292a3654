"""A trainer run on real ranks, and the losses it comes to: what tests hold trainers against each other by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
ROUNDING = 2e-5
"""Of a float32 loss, relative. float32 rounds at 6e-8; sums in another order differ by that, and 20 steps at this rate
make it up to 5e-6 here. Norms that decay as matrices do, which is a small slip, make it 4e-3."""


class Spec(Struct, frozen=True):
    """jobs: built, trained and closed one after the other in one world."""

    jobs: tuple[Asked, ...]
    steps: int = STEPS


class Losses(Struct, frozen=True):
    """losses: of each step, the mean over all its tokens. phases: of rank 0's last step, as they began. notes: of the
    trainer."""

    losses: tuple[float, ...]
    phases: tuple[str, ...]
    notes: tuple[str, ...]

    def off(self, other: Losses) -> float:
        """The greatest relative difference of two losses of one step."""
        return max(abs(a - b) / b for a, b in zip(self.losses, other.losses, strict=True))


class Found(Struct, frozen=True):
    """What one world came to: of each job."""

    jobs: tuple[Losses, ...]


def small(name: str = "tiny", **other: Any) -> Model:
    """A shipped model, so small that 20 steps of it take about a second."""
    shape = {"layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 96, "vocabulary": 256}
    return msgspec.structs.replace(models.load(name), **{**shape, **other})


def job(trainer: str, model: Model, layout: Layout | None = None, **other: Any) -> Asked:
    """float32, 8 sequences of 32 tokens in micro-batches of 2, and a rate at which the loss falls."""
    given = {"dtype": "float32", "micro": 2, "batch": BATCH, "sequence": SEQUENCE, "learning_rate": RATE, **other}
    return Asked(trainer=trainer, model=model, layout=layout or Layout(), **given)


def run(asked: Asked, ranks: int, folder: Path, *others: Asked, **spec: Any) -> list[children.Ended]:
    """A world of that many ranks; it finds this module beside the tests. folder: a new one."""
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    what = Spec((asked, *others), **spec)
    return children.run(children.Work("e2e_losses:train", what, ranks, environment={"PYTHONPATH": here}), folder, LIMIT)


def losses(asked: Asked, ranks: int, folder: Path, **spec: Any) -> Losses:
    """What one job came to."""
    return each((asked,), ranks, folder, **spec)[0]


def each(jobs: Sequence[Asked], ranks: int, folder: Path, **spec: Any) -> tuple[Losses, ...]:
    """What each came to, in one world, which is quicker than a world for each; its own words where it failed."""
    ended = run(jobs[0], ranks, folder, *jobs[1:], **spec)
    assert all(one.ok for one in ended), "\n".join(f"{one.reason}\n{one.log}" for one in ended if not one.ok)
    return msgspec.json.decode(ended[0].result, type=Found).jobs


def train(place: Place) -> Found:
    """On every rank."""
    import torch
    import torch.distributed as dist

    spec = place.read(Spec)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dist.init_process_group("gloo")
    found = tuple(_trained(asked, spec.steps) for asked in spec.jobs)
    dist.destroy_process_group()
    return Found(found)


def _trained(asked: Asked, steps: int) -> Losses:
    """All ranks of a pipeline's last stage see a loss, the others give 0: so many share out the sum."""
    import torch
    import torch.distributed as dist

    from e2e import data, trainers

    held, began = [], list[str]()

    @contextmanager
    def seen(name: str) -> Iterator[None]:
        began.append(name)
        yield

    trainer = trainers.build(asked, torch.device("cpu"))
    seeing = dist.get_world_size() // asked.layout.pipeline
    for step in range(steps):
        share = (trainer.data_rank, trainer.data_ranks, asked.sequence + 1, asked.model.vocabulary)
        tokens = torch.from_numpy(data.batch(asked.seed, step, asked.batch, *share))
        began.clear()
        whole = trainer.step(tokens, seen).detach().double()
        dist.all_reduce(whole)
        held.append(whole.item() / seeing)
    trainer.close()
    return Losses(tuple(held), tuple(began), trainer.notes)
