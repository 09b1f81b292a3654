"""What offloading costs: the efficiency model of ZeRO-Infinity, and a schedule that hides more of the traffic.

Efficiency is the share of a step that is computing: compute / (compute + communication), nothing overlapped
(Rajbhandari et al., arXiv 2104.07857, section 4). With ait the arithmetic intensity in FLOP per byte moved, bw
the bandwidth and peak the rate of computing, that is ait·bw / (ait·bw + peak). The paper's ait are those of large
hidden sizes, with recomputation; where the bytes of a step are known, `unhidden` takes them instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["parameters", "optimizer", "activations"]
STATES: tuple[State, ...] = ("parameters", "optimizer", "activations")
GOAL = 0.9  # the efficiency that bandwidths are asked for


def intensity(state: State, sequence: int, batch: int, hidden: int, interval: int = 1) -> float:
    """FLOP per byte moved, of one device: parameters and gradients seq·batch; optimizer states seq·batch/4; activation
    checkpoints, one every `interval` layers, 24·hidden·interval."""
    match state:
        case "parameters":
            return float(sequence * batch)
        case "optimizer":
            return sequence * batch / 4
        case "activations":
            return 24.0 * hidden * interval


def efficiency(ait: float, bandwidth: float, peak: float) -> float:
    """Share of a step that computes. peak: FLOP/s that the device reaches; bandwidth: B/s of one device."""
    return ait * bandwidth / (ait * bandwidth + peak)


def bandwidth_for(ait: float, peak: float, goal: float = GOAL) -> float:
    """B/s at which `efficiency` is `goal`."""
    return goal * peak / (ait * (1 - goal))


@dataclass(frozen=True)
class Work:
    """A step with everything in memory, by phase, in s. update: the optimizer's arithmetic."""

    forward: float
    backward: float
    update: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.update


@dataclass(frozen=True)
class Swaps:
    """s that the swaps of a step take by themselves: what forward waits for, and all others."""

    forward: float
    others: float

    @property
    def total(self) -> float:
        return self.forward + self.others


def unhidden(work: Work, swaps: Swaps) -> float:
    """Efficiency where nothing is overlapped."""
    return work.total / (work.total + swaps.total)


def overlapped(work: Work, swaps: Swaps, apart: bool) -> float:
    """Efficiency of a schedule that overlaps traffic with computing, as Fuyou's does (Liao et al., arXiv 2403.06504):
    forward takes as long as the longer of computing and its swaps; backward and the optimizer's step are one phase, in
    which gradients are used as they come: the longest of backward, the update on the host, and all other swaps.

    apart: the device is not the host's processors. Where it is, backward and the update share them, and add up. The
    schedule may be quicker than everything in memory one after the other; its efficiency then is above 1.
    """
    inner = max(work.backward, work.update) if apart else work.backward + work.update
    return work.total / (max(work.forward, swaps.forward) + max(inner, swaps.others))
