"""The tasks by name, and what can be said against their parameters before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.cbs.text_model import SMALL, TARGET, UNIFORM
from harness import models
from harness.errors import Skip
from harness.models import Model
from harness.models.counts import parameters
from harness.units import show_size

if TYPE_CHECKING:
    from e2e.cbs import CbsParams
    from e2e.cbs.trials import Task
    from harness.context import Context

TRIAL = {"least_squares": 0.05, "text": 11.0}  # s, about, on a host of two cores with a rank on each
SEQUENCE = 64  # tokens, of which a text trial takes that long
STATE = 24  # B a weight: itself, its gradient, its average, two of Adam's, and a copy while a loss is taken


def trial(params: CbsParams) -> float:
    """About what one training run takes, s; of a larger model or longer sequences in proportion to what they add."""
    if not params.model:
        return TRIAL[params.task] * (params.sequence / SEQUENCE if params.task == "text" else 1.0)
    return TRIAL["text"] * params.sequence / SEQUENCE * parameters(models.load(params.model)) / parameters(SMALL)


def refuse(params: CbsParams) -> None:
    """ValueError where the target cannot be one."""
    if not params.target:
        return
    low, high, own = _bounds(params)
    if params.target >= high:
        raise ValueError(
            f"target={params.target:g} is reached before the first step: {params.task} begins at a held-out loss of "
            f"{high:.4g}. Take a target below that; the task's own is {own:g}"
        )
    if params.target <= low:
        raise ValueError(
            f"target={params.target:g} can never be reached: the held-out loss of {params.task} cannot fall to "
            f"{low:g}. Take a target above that; the task's own is {own:g}"
        )


def _bounds(params: CbsParams) -> tuple[float, float, float]:
    """The lowest loss there can be, the loss of knowing nothing, and the task's own target."""
    if params.task == "least_squares":
        from e2e.cbs.least_squares import LeastSquares

        task = LeastSquares(averaging=params.averaging)
        return task.floor, task.initial, task.target
    return 0.0, UNIFORM, TARGET


def make(params: CbsParams, ctx: Context) -> Task:
    """The task; Skip where what it needs is not installed, or the device has no memory for the model."""
    if params.task == "least_squares":
        from e2e.cbs.least_squares import LeastSquares

        return LeastSquares(averaging=params.averaging)
    model = models.load(params.model) if params.model else SMALL
    shared = ctx.per_node if ctx.device.type == "cpu" else 1  # ranks of a host share its memory
    require_memory(params.model, model, ctx.accelerator.memory_free() // shared)
    from e2e.cbs.text import Text

    ctx.say("the text is read and cut into tokens")
    return Text.make(model, params.sequence, params.averaging, ctx.device, ctx.seed)


def require_memory(name: str, model: Model, free: int) -> None:
    """Skip where `free` B do not hold the model's states, with the largest of the shipped models that they hold."""
    if STATE * parameters(model) <= free:
        return
    fits = {parameters(held): each for each in models.names() if STATE * parameters(held := models.load(each)) <= free}
    near = (
        f"the largest that fits is model={fits[max(fits)]}" if fits else "none of the shipped ones fits: leave it out"
    )
    raise Skip(
        f"model={name} takes {show_size(STATE * parameters(model))} for weights, gradients, averages and Adam's "
        f"states, and {show_size(free)} are free for each rank; {near}"
    )
