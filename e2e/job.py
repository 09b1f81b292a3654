"""One rank of a training job: built, warmed up, timed, then looked into. The entry of `harness.together`."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from e2e.told import EXPOSED, PARTS, Job, Parts, Told
from harness.child import Place, forget_peak, peak, resident

if TYPE_CHECKING:
    import torch

    from e2e.gradient_noise import Norms
    from e2e.steps import Steps
    from harness.accelerator import Accelerator, Probe
    from harness.ranks import Ranks


TIMEOUT = 300.0  # s of one collective: the first waits for the slowest to compile


def train(place: Place) -> Told:
    """Train as asked; every rank returns the same but for nothing: rank 0's word counts."""
    from clusters import accelerators
    from harness.ranks import TorchRanks

    job, local = place.read(Job), int(os.environ["LOCAL_RANK"])
    accelerator = accelerators.create(job.accelerator)
    device = accelerator.bind(local, int(os.environ.get("OMP_NUM_THREADS", "1")))
    ranks = TorchRanks(accelerator.backend(), place.rank, place.world, local, TIMEOUT)
    held = resident()
    accelerator.release()
    try:
        return _measured(job, accelerator, ranks, device, held, local)
    finally:
        ranks.barrier()
        ranks.close()


def _measured(
    job: Job, accelerator: Accelerator, ranks: Ranks, device: torch.device, held: int, local: int
) -> Told:  # fmt: skip
    from e2e import trainers
    from e2e.steps import Steps

    try:
        trainer = trainers.build(job.asked, device)
    except trainers.Refused as reason:
        return Told(refused=str(reason))
    steps = Steps(trainer, job.asked, accelerator, ranks, device)
    warmup, calm = steps.warm_up(job.seconds / 4)
    forget_peak()
    gc.collect()
    probe = accelerator.probe(local)
    before, begin = dict(probe.read()), time.perf_counter()
    taken, stopped, width = steps.timed(job.seconds)
    spent = _energy(probe, before, time.perf_counter() - begin, local, device.type == "cpu")
    probe.close()
    spent_by_all = ranks.column(math.nan if spent is None else spent)
    memory = _memory(accelerator, ranks, held)
    parts, busy = _parts(job, steps, ranks, device)
    norms = _observed(job, steps)
    losses = tuple(steps.losses())
    parameters = sum(one.numel() for one in trainer.parameters)
    seen = _pairs(norms)
    notes = trainer.notes
    trainer.close()
    return Told(
        notes=notes, parameters=parameters, steps=tuple(taken), warmup=warmup, settled=calm, stopped=stopped,
        width=width, losses=losses, parts=tuple(parts), busy=tuple(busy), memory=memory,
        energy=_a_step(spent_by_all, len(taken)), **seen,
    )  # fmt: skip


def _observed(job: Job, steps: Steps) -> Norms | str:
    """Squared gradient norms of steps after the timed ones; or in words why the trainer shows no two gradients."""
    if not job.observed:
        return ""
    norms = steps.trainer.watch()
    for _ in range(0 if isinstance(norms, str) else job.observed):
        steps.one()
    return norms


def _pairs(norms: Norms | str) -> dict[str, Any]:
    """What is told of them. No noise scale comes of one that is no number, which JSON does not have either."""
    if isinstance(norms, str):
        return {"noiseless": norms}
    small, big = norms.pairs()
    if not all(map(math.isfinite, (*small, *big))):
        return {"noiseless": "a gradient's norm was no number"}
    return {"small": small, "big": big, "b_small": norms.b_small, "b_big": norms.b_big}


def _energy(probe: Probe, before: Mapping[str, float], seconds: float, local: int, shared: bool) -> float | None:
    """J of this rank's device since `before`, from its counter or its power; of the host's cores (`shared`) by the
    first rank of the host. None where neither is read."""
    if shared and local:
        return 0.0
    after = probe.read()
    if "energy" in before and "energy" in after:
        return after["energy"] - before["energy"]
    if "power" in before and "power" in after:
        return (before["power"] + after["power"]) / 2 * seconds
    return None


def _a_step(spent: Sequence[float], steps: int) -> float | None:
    """J of one step over all devices, of what each spent in all; None where that of one is not known."""
    whole = sum(spent) / steps
    return None if math.isnan(whole) else whole


def _memory(accelerator: Accelerator, ranks: Ranks, before: int) -> dict[str, int]:
    """B at most on one rank: of the host beyond what the process held before the job; of the device where it has
    memory of its own."""
    found = {"host": max(0, peak() - before)}
    device = accelerator.memory_peak()
    if device is not None:
        found["device"] = device
    most = ranks.maximum([float(value) for value in found.values()])
    return {tier: int(value) for tier, value in zip(found, most, strict=True)}


def _parts(job: Job, steps: Steps, ranks: Ranks, device: torch.device) -> tuple[list[Parts], list[float]]:
    """(rank 0's parts of the profiled steps, every rank's median time of computing in one)."""
    from e2e import breakdown
    from e2e.steps import marked

    if not job.profiled:
        return [], []
    ranks.barrier()
    seen = breakdown.observe(lambda: steps.one(marked), marked, job.profiled, device)
    place = PARTS.index(EXPOSED)
    own = sorted(one.step - one.parts[place] for one in seen)
    return seen, ranks.column(own[len(own) // 2])
