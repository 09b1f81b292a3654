"""Critical batch size, measured by training (Zhang et al., arXiv 2410.21676): how far a batch can grow before more
devices stop saving steps.

For each batch size the learning rate is tuned, then several seeds are trained to a target held-out loss, with a
constant rate after a warm-up and exponentially averaged weights. What is stored are the steps that each took, or that
it did not get there; the fit of S(B) = a + b/B is made when they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.errors import Skip
from harness.records import Measurement, Origin, Struct
from harness.registry import benchmark

if TYPE_CHECKING:
    from e2e.cbs.sweep import Sweep
    from e2e.cbs.train import Say
    from e2e.cbs.trials import Task, Trained, Trial
    from harness.context import Context

MOST_BATCHES = 40
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Few = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class CbsParams(Struct, frozen=True):
    """low, high, factor: batch sizes from low by the factor up to high, in rows or sequences. seeds: runs that are
    measured at each. tuning: runs that tune the learning rate, at each rate tried. rate: where the largest batch's
    sweep begins; per_doubling: rates to a factor of two; reach: rates on each side at most. target: held-out loss.
    limit: steps at most. warmup: steps of rising rate. averaging: horizon as a share of the steps. 0 for target, rate
    or limit stands for the task's own. model, sequence: of the text task, a name or a file that ends in .toml; tokens.
    """

    task: Literal["least_squares", "text"] = "least_squares"
    low: Count = 8
    high: Count = 256
    factor: Annotated[int, msgspec.Meta(ge=2, le=64)] = 2
    seeds: Few = 10
    tuning: Few = 3
    rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    per_doubling: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    reach: Annotated[int, msgspec.Meta(ge=1, le=40)] = 8
    target: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    limit: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    warmup: Count = 10
    averaging: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    model: str = ""
    sequence: Annotated[int, msgspec.Meta(ge=8, le=1 << 16)] = 64

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}: batch sizes go from low up to high")
        if len(self.batches) < 3:
            near = self.low * self.factor**2
            raise ValueError(
                f"low={self.low}, high={self.high}, factor={self.factor} give {len(self.batches)} batch sizes, and a "
                f"curve of two unknowns takes 3: raise high to {near}, or lower factor"
            )
        if len(self.batches) > MOST_BATCHES:
            raise ValueError(f"{len(self.batches)} batch sizes are more than {MOST_BATCHES}: take a larger factor")
        if self.model and self.task != "text":
            raise ValueError(f"model={self.model} is for task=text; {self.task} has no model")
        from e2e.cbs.tasks import refuse

        refuse(self)

    @property
    def apart(self) -> float:
        """The factor from one learning rate to the next."""
        return float(2 ** (1 / self.per_doubling))

    @property
    def batches(self) -> tuple[int, ...]:
        held = [self.low]
        while held[-1] * self.factor <= self.high and len(held) <= MOST_BATCHES:
            held.append(held[-1] * self.factor)
        return tuple(held)


def lasts(params: CbsParams) -> float:
    """About what a cell takes, s: the trials of every batch size, of which tuning mostly tries four rates."""
    from e2e.cbs.tasks import trial

    return trial(params) * len(params.batches) * (4 * params.tuning + params.seeds)


@benchmark("e2e.cbs", version=1, params=CbsParams, scope="group", rate="steps", seconds=lasts)
def cbs(ctx: Context, params: CbsParams) -> Sequence[Measurement]:
    """Steps to a target held-out loss at each batch size, at a tuned learning rate.

    Each run is of one device; runs are shared out over the ranks. An interrupted run goes on where it was.
    """
    from e2e.cbs import campaign, results, tasks

    if ctx.kept is None or ctx.meter.origin is Origin.MODELLED:
        raise Skip("steps to a loss are found by training; a simulated cluster has none")
    task = tasks.make(params, ctx)
    target, begins = params.target or task.target, task.initial
    if target >= begins:
        raise Skip(
            f"target={target:g} is reached before the first step: the held-out loss begins at {begins:.4g}; take a "
            f"target below that (the task's own is {task.target:g})"
        )
    ctx.ready()
    asked = plan(params, task)

    def train(trial: Trial, say: Say) -> Trained:
        return _train(ctx, params, task, target, trial, say)

    held = campaign.carry_out(asked, train, campaign.Share(ctx.kept, ctx.ranks.rank, ctx.ranks.world, ctx.say))
    ctx.ranks.barrier()
    return results.measurements(asked, held, lambda notch: rate_of(params, task, notch), target, ctx.meter.origin)


def plan(params: CbsParams, task: Task) -> Sweep:
    """What is trained."""
    from e2e.cbs.sweep import Sweep, starts

    begin = starts(params.batches, task.scaling, params.apart)
    return Sweep(begin, params.reach, params.tuning, params.seeds, params.limit or task.limit)


def rate_of(params: CbsParams, task: Task, notch: int) -> float:
    """The learning rate of a notch, to four digits: what is trained with is what the record says."""
    return float(f"{(params.rate or task.rate) * params.apart**notch:.4g}")


def _train(ctx: Context, params: CbsParams, task: Task, target: float, trial: Trial, say: Say) -> Trained:
    from e2e.cbs.train import Rule, train

    assert ctx.kept is not None
    seeds = (ctx.seed, ctx.launch, trial.seed + params.tuning)  # from 1: a generator takes no negative number
    course = task.begin(trial.batch, seeds)
    return train(trial, rate_of(params, task, trial.notch), course, Rule(target, params.warmup), ctx.kept, say)
