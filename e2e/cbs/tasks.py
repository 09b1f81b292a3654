"""The tasks by name, and what can be said against their parameters before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from e2e.cbs import CbsParams
    from e2e.cbs.train import Say
    from e2e.cbs.trials import Task


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
    from e2e.cbs.text_model import TARGET, UNIFORM

    return 0.0, UNIFORM, TARGET


def make(params: CbsParams, device: torch.device, seed: int, say: Say) -> Task:
    """The task; Skip where what it needs is not installed."""
    if params.task == "least_squares":
        from e2e.cbs.least_squares import LeastSquares

        return LeastSquares(averaging=params.averaging)
    from e2e.cbs.text import Text

    say("the text is read and cut into tokens")
    return Text.make(params.model, params.sequence, params.averaging, device, seed)
