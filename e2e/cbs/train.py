"""Trains one trial: constant learning rate after a warm-up, no end fixed in advance, looks until the target is reached.

A learning rate that decays to zero needs the end to be known, which is what is measured here; the averaged weights
stand in for the decay (Zhang et al., arXiv 2410.21676, section 2.2; Hägele et al., arXiv 2405.18392).
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from e2e.cbs.crossing import crossing, next_look
from e2e.cbs.trials import LATE, Course, Ended, Trained, Trial, checkpoint_file
from harness.files import write_atomically

SAVE = 20.0  # s between two checkpoints of a trial
BEAT = 5.0  # s between two words of progress
DIVERGED = 1.5  # times the initial loss: past it a run is given up

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rule:
    """How every trial is trained. warmup: steps over which the rate rises from 0, linearly."""

    target: float
    warmup: int
    save: float = SAVE


@dataclass
class _Curve:
    looks: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def add(self, step: int, loss: float) -> None:
        self.looks.append(step)
        self.losses.append(loss)


def train(trial: Trial, rate: float, course: Course, rule: Rule, folder: Path, say: Say) -> Trained:
    """The whole trial, from where a checkpoint in `folder` left it."""
    curve = _Curve()
    step = _restored(trial, course, curve, folder)
    if not step:
        curve.add(0, course.loss())
    look, saved, told = next_look(step), time.monotonic(), time.monotonic()
    while step < trial.limit:
        step += 1
        course.step(step, rate * min(1.0, step / rule.warmup))
        if step >= look or step == trial.limit:
            look = next_look(step)
            loss = course.loss()
            if not math.isfinite(loss) or loss > DIVERGED * curve.losses[0]:
                return _trained(trial, "diverged", step, curve, course)
            curve.add(step, loss)
            found = crossing(curve.looks, curve.losses, rule.target, step == trial.limit)
            if found is not None:
                return _trained(trial, "reached", found, curve, course)
        now = time.monotonic()
        if now - told > BEAT:
            told = now
            say(f"batch {trial.batch}, learning rate {rate:.3g}: step {step}, loss {curve.losses[-1]:.4g}")
        if now - saved > rule.save:
            _save(trial, step, course, curve, folder)
            saved = time.monotonic()
    return _trained(trial, "censored", step, curve, course)


def _trained(trial: Trial, ended: Ended, steps: float, curve: _Curve, course: Course) -> Trained:
    small, big = course.pairs()
    late = len(small) - round(LATE * len(small))
    if ended == "diverged":  # norms that are no numbers, and of nothing
        small, big = (), ()
    return Trained(
        trial, ended, float(steps), tuple(curve.looks), tuple(curve.losses), course.passes, small[late:], big[late:]
    )


def _save(trial: Trial, step: int, course: Course, curve: _Curve, folder: Path) -> None:
    box = io.BytesIO()
    state = {f"state.{name}": value for name, value in course.state().items()}
    np.savez(box, limit=trial.limit, step=step, looks=curve.looks, losses=curve.losses, **state)  # type: ignore[arg-type]
    write_atomically(checkpoint_file(folder, trial), box.getvalue())


def _restored(trial: Trial, course: Course, curve: _Curve, folder: Path) -> int:
    """Steps that a checkpoint holds, its state taken over; 0 where there is none of this trial."""
    path = checkpoint_file(folder, trial)
    if not path.exists():
        return 0
    with np.load(path, allow_pickle=False) as held:
        if int(held["limit"]) != trial.limit:
            return 0
        course.restore({name.removeprefix("state."): held[name] for name in held.files if name.startswith("state.")})
        curve.looks, curve.losses = held["looks"].tolist(), held["losses"].tolist()
        return int(held["step"])
