"""Memory that training needs, by ZeRO stage and by the tier that each state is kept in.

Model states by Rajbhandari et al., ZeRO (arXiv 1910.02054), section 3 and figure 1: with mixed precision and Adam a
parameter takes 2 B of weight, 2 B of gradient and 12 B of optimizer state (master weight and two moments). The
tiers by Rajbhandari et al., ZeRO-Infinity (arXiv 2104.07857), section 3. Formulas say what must be held; what a
framework holds besides (buffers, a second copy) is what a measurement shows beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from harness.models import Model
from harness.models.counts import embeddings, layer_parameters, parameters

Tier = Literal["none", "cpu", "nvme"]
MOST_LAYERS = 1 << 20


@dataclass(frozen=True)
class Bytes:
    """Of one parameter: its weight and gradient as they are computed with, and the optimizer's state."""

    weight: int
    gradient: int
    state: int

    @property
    def whole(self) -> int:
        return self.weight + self.gradient + self.state


PRECISIONS = {"bfloat16": Bytes(2, 2, 12), "float16": Bytes(2, 2, 12), "float32": Bytes(4, 4, 8)}
"""Adam; float32 needs no master weight apart."""


@dataclass(frozen=True)
class Plan:
    """How a model is trained. ranks: that share the states. local: of them, on one host. optimizer, parameters:
    the tier that they are offloaded to; gradients go where the optimizer's state is used, to the host."""

    stage: int
    ranks: int = 1
    local: int = 1
    optimizer: Tier = "none"
    parameters: Tier = "none"
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Tiers:
    """B of one device, and of the memory and the disks of one host."""

    device: float
    host: float
    nvme: float

    def __add__(self, other: Tiers) -> Tiers:
        return Tiers(self.device + other.device, self.host + other.host, self.nvme + other.nvme)

    def together(self, local: int) -> Tiers:
        """Where `local` devices are the host's own processors: their memory is the host's."""
        return Tiers(0.0, self.device * local + self.host, self.nvme)

    def within(self, other: Tiers) -> bool:
        return self.device <= other.device and self.host <= other.host and self.nvme <= other.nvme


def model_states(count: float, plan: Plan) -> Tiers:
    """Weights, gradients and optimizer states of `count` parameters. Stage 1 shares out optimizer states, stage 2
    gradients too, stage 3 weights too: 16Ψ, 4Ψ + 12Ψ/N, 2Ψ + 14Ψ/N, 16Ψ/N at 16 B a parameter."""
    held, shares = PRECISIONS[plan.dtype], [1 if plan.stage < at else plan.ranks for at in (1, 2, 3)]
    state, gradient, weight = (
        size * count / share for size, share in zip((held.state, held.gradient, held.weight), shares, strict=True)
    )
    offloaded = "none" if plan.stage < 2 else plan.optimizer
    placed = _placed(state, plan.optimizer, plan.local) + _placed(gradient, offloaded, plan.local)
    return placed + _placed(weight, plan.parameters, plan.local)


def _placed(size: float, tier: Tier, local: int) -> Tiers:
    """Each of the host's ranks brings its share."""
    if tier == "none":
        return Tiers(size, 0.0, 0.0)
    return Tiers(0.0, size * local, 0.0) if tier == "cpu" else Tiers(0.0, 0.0, size * local)


def working(model: Model, plan: Plan) -> float:
    """B of a device for the weights and gradients of the largest piece at work, which stage 3 gathers whole."""
    held = PRECISIONS[plan.dtype]
    piece = max(layer_parameters(model), embeddings(model))
    return float((held.weight + held.gradient) * piece) if plan.stage == 3 else 0.0


def activations(model: Model, sequence: int, batch: int, interval: int = 1) -> float:
    """B of a device with a checkpoint of 2 B an element every `interval` layers: the checkpoints, and what lies between
    two of them, which is computed again (ZeRO-Infinity, sections 3 and 4: 2·b·s·h·L/ci and b·s·ci·(16h + 2·a·s))."""
    tokens = batch * sequence
    kept = 2.0 * tokens * model.hidden * model.layers / interval
    return kept + tokens * interval * (16.0 * model.hidden + 2.0 * model.heads * sequence)


def needed(model: Model, plan: Plan, sequence: int, batch: int, interval: int = 1) -> Tiers:
    """All of it."""
    inner = working(model, plan) + activations(model, sequence, batch, interval)
    return model_states(parameters(model), plan) + Tiers(inner, 0.0, 0.0)


def largest(
    model: Model, plan: Plan, room: Tiers, sequence: int, batch: int, interval: int = 1, apart: bool = True
) -> int:
    """Layers of the deepest model of these widths that fits; 0 where not even one does. apart: devices have memory of
    their own."""

    def fits(layers: int) -> bool:
        held = needed(msgspec.structs.replace(model, layers=layers), plan, sequence, batch, interval)
        return (held if apart else held.together(plan.local)).within(room)

    return deepest(fits, 1, MOST_LAYERS)


def deepest(fits: Callable[[int], bool], guess: int, most: int) -> int:
    """The greatest number of layers, at most `most`, that fits; 0 where 1 does not. More layers need more, so a bracket
    is grown from a guess by doubling or halving, then halved. Nothing is asked twice."""
    low, high, at = 0, most + 1, min(max(guess, 1), most)
    while high - low > 1:
        low, high = (at, high) if fits(at) else (low, at)
        grow, shrink = high > most, low == 0
        at = min(2 * low, most) if grow else high // 2 if shrink else (low + high) // 2
    return low
