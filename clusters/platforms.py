"""Puts together what a worker measures with: a vendor's devices, or a model of a declared cluster."""

from __future__ import annotations

import os

from clusters import accelerators, nic_counters
from harness.accelerator import Accelerator, Probe
from harness.job import Job
from harness.meter import TorchMeter
from harness.operands import Arena
from harness.platform import Platform, resolve
from harness.ranks import OneProcess, Ranks, TorchRanks
from harness.telemetry import Joined, Sampler


def real(job: Job) -> Platform:
    """Real devices: one of the ranks that a launcher started (RANK, LOCAL_RANK, LOCAL_WORLD_SIZE)."""
    accelerator = accelerators.create(job.accelerator)
    rank, local = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    device = accelerator.bind(local, job.threads)
    ranks: Ranks = OneProcess()
    if job.world > 1:
        ranks = TorchRanks(accelerator.backend(), rank, job.world, local, job.timeout)
    sampler = Sampler(_probe(accelerator, local))
    meter = TorchMeter(accelerator, ranks, job.policy, sampler)
    sharing = job.ranks_per_node if job.accelerator == "cpu" else 1
    arena = Arena(device, accelerator.memory_free, accelerator.cache(), sharing, job.seed + rank)

    grew: str | None = None

    def telemetry() -> dict[str, tuple[float, float, float]]:
        nonlocal grew
        seen, grew = sampler.summary(), sampler.troubles()
        sampler.reset()
        return seen

    def close() -> None:
        sampler.close()
        if isinstance(ranks, TorchRanks):
            ranks.close()

    def notices() -> tuple[str, ...]:
        ended = (f"telemetry ended: {sampler.ended}",) if sampler.ended else ()
        return (*ended, f"while it was measured: {grew}") if grew else ended

    return Platform(accelerator, ranks, meter, arena, meter.timer, telemetry, close, notices=notices)


def _probe(accelerator: Accelerator, local: int) -> Probe:
    """This rank's device and, on one rank of each node that has any, the ports of its network adapters."""
    ports = list(nic_counters.ports()) if local == 0 else []
    return Joined(accelerator.probe(local), nic_counters.NicSums(ports)) if ports else accelerator.probe(local)


def simulated(job: Job) -> Platform:
    """A model of the declared cluster, all its ranks in this one process; nothing is executed."""
    import torch

    from clusters.accelerators.simulated import Simulated, SimulatedMeter, jitter_note

    accelerator = Simulated(job.cluster)
    ranks = OneProcess(world=job.world)
    meter = SimulatedMeter(resolve(job.timing)(job.cluster), ranks, job.seed + job.launch)
    arena = Arena(torch.device("meta"), accelerator.memory_free, accelerator.cache(), 1, job.seed)
    assumptions = resolve(job.assumptions)(job.cluster)
    notes = ("modelled: nothing was executed", *assumptions, jitter_note(job.world))
    return Platform(
        accelerator, ranks, meter, arena, None, dict, lambda: None, speaks_for=job.world, notices=lambda: notes
    )
