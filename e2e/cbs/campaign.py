"""Carries out a sweep: its trials shared out over the ranks of a launch, results exchanged through the run's folder.

Trials last minutes and differ in length, so ranks wait for each other's files and not in a collective, which would time
out. A rank that dies ends the launch, and the trials that are whole stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cbs import trials
from e2e.cbs.sweep import Sweep, wanted
from e2e.cbs.train import BEAT, Say
from e2e.cbs.trials import Key, Trained, Trial

LOOK = 0.02  # s between two looks at what others have written


def _silently(_: str) -> None:
    return


@dataclass(frozen=True)
class Share:
    """This rank's share of the work. folder: of all ranks, lasting."""

    folder: Path
    rank: int = 0
    world: int = 1
    say: Say = _silently


def carry_out(sweep: Sweep, train: Callable[[Trial, Say], Trained], share: Share) -> dict[Key, Trained]:
    """Every trial of the sweep by key. What the folder holds already is not trained again."""
    share.folder.mkdir(parents=True, exist_ok=True)
    held: dict[Key, Trained] = {}
    while asked := wanted(sweep, held):
        for number, trial in enumerate(asked):
            if number % share.world == share.rank and trials.read(share.folder, trial) is None:
                trials.write(share.folder, train(trial, _told(share.say, len(held), len(asked) - number)))
        for trial in asked:
            held[trial.key] = _awaited(trial, share)
    return held


def _told(say: Say, done: int, left: int) -> Say:
    return lambda text: say(f"{text} ({done} trials done, {left} left in this round)")


def _awaited(trial: Trial, share: Share) -> Trained:
    told = time.monotonic()
    while (found := trials.read(share.folder, trial)) is None:
        time.sleep(LOOK)
        if time.monotonic() - told > BEAT:
            told = time.monotonic()
            share.say(f"waiting for batch {trial.batch} on another rank")
    return found
