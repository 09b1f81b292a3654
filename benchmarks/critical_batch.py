"""Critical batch size on the closed-form problem: does the interval hold the truth, and how wide is it?

`python benchmarks/critical_batch.py [--trials 20] [--workers N] [--json]`. Each trial measures the least-squares task
of `e2e.cbs` with a seed of its own, and knows what is true of it from `e2e.cbs.truth`:

- B*: the whole sweep is trained as `bench run --only e2e.cbs` does, and fitted as `bench fit cbs` does. The truth is
  where S(B), worked out from the moments of SGD, has its 20 %; no form is fitted to it.
- Noise scale: squared norms of the first micro-batch's gradient and of the whole step's, along a training run. The
  truth is the ratio of the sums of tr(Σ) and |G|² at the weights of these steps.

Nothing is asserted; the target is 18 of 20 inside, and no interval wider than 35 % to either side.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from costmodels.critical_batch import fit
from costmodels.critical_batch_points import Run
from e2e.cbs import CbsParams, campaign, plan, rate_of, truth
from e2e.cbs.least_squares import LeastSquares
from e2e.cbs.train import Rule, train
from e2e.cbs.trials import Trained, Trial
from harness.noise_scale import estimate
from harness.statistics import Interval

PARAMS = CbsParams()
MICRO, WHOLE = 64, 512  # rows of a micro-batch, and of a step: about as many as the noise scale
SHARE, WIDEST = 0.9, 0.35  # the target
SKIPPED, OBSERVED = 20, 100  # steps of the run before the first pair, and pairs


@dataclass(frozen=True)
class Found:
    """One trial: the truth, the interval, and the s it took."""

    true: float
    interval: Interval
    seconds: float


@dataclass(frozen=True)
class Row:
    """inside: trials whose interval holds the truth. width: half of the interval over its value, median and greatest.
    bias: median of value / truth."""

    name: str
    trials: int
    inside: int
    width: float
    widest: float
    bias: float
    seconds: float

    @property
    def met(self) -> bool:
        return self.inside >= SHARE * self.trials and self.widest <= WIDEST


def star(seed: int) -> Found:
    """B* of one sweep."""
    task, began = LeastSquares(averaging=PARAMS.averaging), time.monotonic()
    rule = Rule(task.target, PARAMS.warmup)
    with tempfile.TemporaryDirectory() as folder:

        def trained(trial: Trial, say: Callable[[str], None]) -> Trained:
            course = task.begin(trial.batch, (seed, 0, trial.seed + PARAMS.tuning))
            return train(trial, rate_of(PARAMS, task, trial.notch), course, rule, Path(folder), say)

        held = campaign.carry_out(plan(PARAMS, task), trained, campaign.Share(Path(folder)))
    runs = [
        Run(float(one.trial.batch), one.steps, one.ended == "reached", one.ended == "diverged")
        for one in held.values() if one.trial.seed > 0
    ]  # fmt: skip
    true = truth.critical_batch(task, PARAMS.low, PARAMS.warmup, PARAMS.apart)
    return Found(true, fit(runs, reference=PARAMS.low).b_star, time.monotonic() - began)


def noise_scale(seed: int) -> Found:
    """B_simple along a training run."""
    task, began = LeastSquares(averaging=PARAMS.averaging), time.monotonic()
    draw, weights = np.random.default_rng(seed), np.zeros(task.dimensions)
    pairs, traces, signals = list[tuple[float, float]](), 0.0, 0.0
    for step in range(SKIPPED + OBSERVED):
        small = task.gradient(weights, MICRO, draw)
        whole = (MICRO * small + (WHOLE - MICRO) * task.gradient(weights, WHOLE - MICRO, draw)) / WHOLE
        if step >= SKIPPED:
            signal = float(((task.spectrum * (weights - task.solution)) ** 2).sum())
            pairs.append((float(small @ small), float(whole @ whole)))
            traces, signals = traces + truth.noise_scale(task, weights) * signal, signals + signal
        weights = weights - 0.1 * whole
    few, many = zip(*pairs, strict=True)
    return Found(traces / signals, estimate(few, many, MICRO, WHOLE), time.monotonic() - began)


def row(name: str, found: Sequence[Found]) -> Row:
    widths = [one.interval.width for one in found]
    inside = sum(one.interval.low <= one.true <= one.interval.high for one in found)
    bias = float(np.median([one.interval.value / one.true for one in found]))
    seconds = float(np.median([one.seconds for one in found]))
    return Row(name, len(found), inside, float(np.median(widths)), max(widths), bias, seconds)


def wilson(inside: int, trials: int) -> tuple[float, float]:
    """95 % interval of the share of trials that are inside (Wilson 1927)."""
    z, share = 1.96, inside / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))) / (1 + z * z / trials)
    return middle - half, middle + half


def show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(each) | {"met": each.met} for each in rows], indent=1))
        return
    print(f"truth inside the 95 % interval: target {SHARE:.0%} of trials, no interval wider than ±{WIDEST:.0%}"
          f"   (load {os.getloadavg()[0]:.1f})")  # fmt: skip
    for each in rows:
        low, high = wilson(each.inside, each.trials)
        print(
            f"  {each.name:<26} inside {each.inside:>2} of {each.trials} [{low:.0%}, {high:.0%}]  "
            f"width ±{each.width:.1%}, widest ±{each.widest:.1%}  value/truth {each.bias:.3f}  "
            f"{each.seconds:.1f} s a trial  {'met' if each.met else 'MISSED'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers: each has a core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        seeds = range(1, args.trials + 1)
        scales, stars = list(pool.map(noise_scale, seeds)), list(pool.map(star, seeds))
    show([row("gradient noise scale", scales), row("B*, the sweep of e2e.cbs", stars)], args.json)


if __name__ == "__main__":
    main()
