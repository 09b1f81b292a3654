"""What a comparison of low-communication training is asked to be, and what it tells."""

from __future__ import annotations

from typing import Literal

from e2e.asked import Asked
from harness.records import Struct

Method = Literal["ddp", "diloco", "co2", "noloco"]
SYNCHRONOUS: Method = "ddp"
METHODS: tuple[Method, ...] = (SYNCHRONOUS, "diloco", "co2", "noloco")
TOGETHER: tuple[Method, ...] = (SYNCHRONOUS, "diloco", "co2")
"""After an outer step all ranks hold the same weights; NoLoCo's stay apart."""

LEAST = 6  # turns


class Job(Struct, frozen=True):
    """asked: the model and the batch, which all methods share. local_steps: of a round, on one rank, between two outer
    steps (H of DiLoCo, tau of CO2). bandwidth: B/s that each rank's link is held to, 0 is as it is. seconds: of timed
    rounds at most, over all methods. seeds: each trains every method for `rounds` rounds, for its held-out loss."""

    asked: Asked
    accelerator: str
    local_steps: int
    bandwidth: float
    seconds: float
    rounds: int
    seeds: tuple[int, ...]


class Told(Struct, frozen=True):
    """By method. times: s of each timed round, the greatest over ranks. sent: B that a rank sent in one round, the mean
    over ranks. waited: s of each of those rounds in which the rank that waited longest stood still for an outer step's
    exchange. losses: held-out, nats a token, mean over ranks' weights, one for each seed; None where it is no number.
    spread: of the weights over ranks after the last seed, root mean square against that of the weights."""

    parameters: int
    stopped: str
    times: dict[str, tuple[float, ...]]
    sent: dict[str, float]
    waited: dict[str, tuple[float, ...]]
    losses: dict[str, tuple[float | None, ...]] = {}
    spread: dict[str, float | None] = {}
