"""Training jobs: the torch trainer's tokens per second over a plain hand-written loop's, and what looking costs.

`python benchmarks/job_overhead.py [--json]`. One process with every core, one model, the same data; in turns (ABBA):

- the trainer, as e2e.mfu drives and times it, against a loop that calls the model, the loss, backward, torch's own
  clipping and AdamW, with nothing else in it;
- timed steps against the same trainer's steps without any timing;
- steps of which squared gradient norms are taken, for the gradient noise scale, against the same steps without.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter

import msgspec
import torch
import torch.distributed as dist
from common import Row, abba, inverse, row, show, wants_json
from place import cores

from clusters import accelerators
from e2e import data, network
from e2e.asked import BETAS, CLIP, EPSILON, Asked
from e2e.optimizers import groups
from e2e.steps import Steps
from e2e.trainers.with_torch import TorchTrainer, build
from harness import models
from harness.children import free_port
from harness.ranks import OneProcess

STEPS, ROUNDS = 3, 10
SHAPES = (("tiny, sequence 128", 128, "float32"), ("tiny, sequence 256", 256, "bfloat16"))

Loop = Callable[[], float]


def asked(sequence: int, dtype: str) -> Asked:
    model = msgspec.structs.replace(models.load("tiny"), layers=2)
    return Asked("torch", model, sequence, batch=2, micro=1, dtype=dtype)  # type: ignore[arg-type]


def plain(job: Asked) -> Loop:
    """What one writes first."""
    held = network.Network(job.model)
    network.fill(held, job.seed)
    optimizer = torch.optim.AdamW(groups(list(held.named_parameters())), lr=job.learning_rate, betas=BETAS,
                                  eps=EPSILON, fused=True)  # fmt: skip
    taken = iter(range(1 << 30))

    def step() -> None:
        rows = data.batch(job.seed, next(taken), job.batch, 0, 1, job.sequence + 1, job.model.vocabulary)
        for micro in torch.from_numpy(rows).split(job.micro):
            with torch.autocast("cpu", torch.bfloat16, enabled=job.dtype == "bfloat16"):
                loss = network.mean_loss(held(micro[:, :-1]), micro[:, 1:]) / (job.batch // job.micro)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(held.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return looped(step)


def looped(step: Callable[[], object]) -> Loop:
    """s of STEPS steps, timed from outside."""

    def loop() -> float:
        begin = perf_counter()
        for _ in range(STEPS):
            step()
        return perf_counter() - begin

    return loop


def steps_of(job: Asked) -> tuple[Steps, TorchTrainer]:
    device = torch.device("cpu")
    trainer = build(job, device)
    return Steps(trainer, job, accelerators.create("cpu"), OneProcess(), device), trainer


def watched(steps: Steps) -> Loop:
    """s of STEPS timed steps, with all that timing them takes."""

    def loop() -> float:
        begin = perf_counter()
        steps.block(STEPS)
        return perf_counter() - begin

    return loop


def observing(steps: Steps, trainer: TorchTrainer) -> Loop:
    """The same steps with norms taken, which are forgotten between turns."""
    inner = looped(steps.one)

    def loop() -> float:
        trainer.watch()
        taken = inner()
        trainer.norms = None
        return taken

    return loop


def rows() -> list[Row]:
    torch.set_num_threads(cores())
    found = []
    for name, sequence, dtype in SHAPES:
        job = asked(sequence, dtype)
        steps, trainer = steps_of(job)
        block: Loop = lambda steps=steps: sum(steps.block(STEPS))  # type: ignore[misc] # noqa: E731
        found.append(row(f"{name} {dtype}: trainer / plain loop", inverse(abba(block, plain(job), ROUNDS)),
                         "tokens per second", least=0.97))  # fmt: skip
        timed = abba(watched(steps), looped(steps.one), ROUNDS)
        found.append(row("  timed steps / the same untimed", timed, "time", most=1.01, within=True))
        seen = abba(observing(steps, trainer), looped(steps.one), ROUNDS)
        found.append(row("  with gradient norms / without", seen, "time", most=1.03, within=True))
    return found


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    dist.init_process_group("gloo", rank=0, world_size=1)
    show("Training jobs: the trainer against a plain loop, and what looking costs", rows(), as_json)
    dist.destroy_process_group()
