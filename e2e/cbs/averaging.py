"""Exponential averaging of weights whose horizon grows with the run.

Zhang et al. (arXiv 2410.21676) tune a decay for every batch size, since a horizon of a fixed number of steps is long
for a large batch and short for a small one. Here the horizon is a fixed share of the steps taken so far, which is one
setting for all: the power-law profile of Karras et al. (arXiv 2312.02696, section 3.1), whose exponent is 1/share.
"""

from __future__ import annotations


def share_of(step: int, horizon: float) -> float:
    """What the weights of step `step`, from 1, enter the average with: 1/(1 + horizon · step). Averages then reach back
    over about `horizon` of all steps; the initial weights are forgotten as in any exponential average. A horizon of 0
    is no averaging."""
    return 1.0 / (1.0 + horizon * step)
