"""Two jobs in turns in one world: what one gains over the other, of one machine in one state (METHOD 13)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from e2e.asked import Asked
from e2e.told import Loss
from harness.child import Place
from harness.records import Struct

if TYPE_CHECKING:
    from e2e.steps import Steps

BLOCK = 0.3  # s of steps in a row at least, so that what a switch leaves in caches weighs little
LEAST = 6  # turns
WIDTH = 0.02  # half width of the ratio's 95 % interval that ends it


class Pair(Struct, frozen=True):
    """Two jobs. seconds: of both together, after their warm-ups."""

    base: Asked
    other: Asked
    accelerator: str
    seconds: float


class Turns(Struct, frozen=True):
    """base, other: s of a step in each turn, one of each for every turn. losses: each one's, of every step."""

    refused: str = ""
    base: tuple[float, ...] = ()
    other: tuple[float, ...] = ()
    losses: tuple[tuple[Loss, ...], tuple[Loss, ...]] = ((), ())
    notes: tuple[str, ...] = ()
    stopped: str = ""


def compare(place: Place) -> Turns:
    """The entry of `harness.together`."""
    from clusters import accelerators
    from e2e import trainers
    from e2e.job import TIMEOUT
    from e2e.steps import Steps
    from harness.ranks import TorchRanks

    pair, local = place.read(Pair), int(os.environ["LOCAL_RANK"])
    accelerator = accelerators.create(pair.accelerator)
    device = accelerator.bind(local, int(os.environ.get("OMP_NUM_THREADS", "1")))
    ranks = TorchRanks(accelerator.backend(), place.rank, place.world, local, TIMEOUT)
    held = []
    try:
        for asked in (pair.base, pair.other):
            held.append(Steps(trainers.build(asked, device), asked, accelerator, ranks, device))
        return _turns(pair, *held)
    except trainers.Refused as reason:
        return Turns(refused=str(reason))
    finally:
        ranks.barrier()
        ranks.close()


def _turns(pair: Pair, base: Steps, other: Steps) -> Turns:
    """base, other, other, base and so on, each turn long enough to count."""
    from harness.statistics import ratio_interval

    counts = []
    for each in (base, other):
        each.warm_up(pair.seconds / 8)
        counts.append(max(1, round(BLOCK / float(np.mean(each.block(2))))))
    taken: tuple[list[float], list[float]] = ([], [])
    stopped = "time cap"
    spent = 0.0
    while spent < pair.seconds or len(taken[0]) < LEAST:
        order = (0, 1) if len(taken[0]) % 2 == 0 else (1, 0)
        for at in order:
            block = (base, other)[at].block(counts[at])
            spent += sum(block)
            taken[at].append(float(np.mean(block)))
        if len(taken[0]) >= LEAST and ratio_interval(*taken).width <= WIDTH:
            stopped = "width reached"
            break
    losses = (tuple(base.losses()), tuple(other.losses()))
    notes = tuple(dict.fromkeys((*base.trainer.notes, *other.trainer.notes)))
    return Turns("", tuple(taken[0]), tuple(taken[1]), losses, notes, stopped)
