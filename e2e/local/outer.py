"""Outer steps: what ranks that train by themselves for a round then do to come to one model again.

Each holds all weights as one flat vector of float32, x below. `step` is called after a round's local steps, with the
weights that those came to in place; it leaves the weights that the next round begins from. Local optimizers keep their
states: none of the three papers exchanges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from e2e.local.pairs import partners
from e2e.local.wire import Pending, Wire


class Outer(Protocol):
    def step(self) -> None:
        """Exchange, and put the weights in place that the next round begins from."""
        ...

    def drain(self) -> None:
        """Wait for what is on its way, and change nothing."""
        ...

    def finish(self) -> None:
        """Put the last weights in place: what is on its way is waited for and applied."""
        ...


class Flat:
    """Parameters as one vector."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._held = [one.detach() for one in parameters]

    def read(self) -> Tensor:
        return torch.cat([one.flatten() for one in self._held])

    def write(self, flat: Tensor) -> None:
        parts = torch.split(flat, [one.numel() for one in self._held])
        for one, part in zip(self._held, parts, strict=True):
            one.copy_(part.view_as(one))


class DiLoCo:
    """Douillard et al., arXiv 2311.08105, algorithm 1: the outer gradient is the mean over ranks of x(t-1) - x_i(t),
    and the outer optimizer, SGD with Nesterov momentum (rate 0.7, momentum 0.9: their section 3), steps from x(t-1)."""

    def __init__(self, parameters: Sequence[Tensor], wire: Wire, rate: float = 0.7, momentum: float = 0.9) -> None:
        self._flat, self._wire = Flat(parameters), wire
        self._anchor = torch.nn.Parameter(self._flat.read())
        self._outer = torch.optim.SGD([self._anchor], lr=rate, momentum=momentum, nesterov=momentum > 0)

    @torch.no_grad()
    def step(self) -> None:
        gradient = self._anchor.detach() - self._flat.read()
        self._wire.total(gradient).wait()
        self._anchor.grad = gradient.div_(self._wire.world)
        self._outer.step()
        self._flat.write(self._anchor.detach())

    def drain(self) -> None:
        return

    def finish(self) -> None:
        return


class CO2:
    """Sun et al., arXiv 2401.16265, algorithm 1: the all-reduce of round t's weights runs beside round t+1, and is
    applied when that ends, one round late:

        m(t) = beta m(t-1) + (x(t-1, 0) - mean x_i(t-1, tau)) / gap(t)
        x(t+1, 0) = x(t, 0) - alpha clip(m(t), phi)

    The first round thus ends where it began; what it found is applied a round later. gap is the staleness gap penalty,
    clip limits each element to [-phi, phi].

    What had to be decided. gap: one number for each weight, 1 + |x(t, 0) - x(t-1, 0)| / (alpha r), with r the root mean
    square of the late difference over all weights: how far the model has gone meanwhile, counted in outer steps, as in
    the gap-aware method that the penalty goes back to (Barkai et al., arXiv 1909.10802). alpha, beta and phi are the
    defaults and the example of the authors' own implementation (fairscale-CO2: 1.0, 0.2, 1.0, in units of weights).
    """

    def __init__(
        self, parameters: Sequence[Tensor], wire: Wire, rate: float = 1.0, momentum: float = 0.2, clip: float = 1.0
    ) -> None:  # fmt: skip
        self._flat, self._wire = Flat(parameters), wire
        self._rate, self._beta, self._clip = rate, momentum, clip
        self._now = self._flat.read()  # x(t, 0)
        self._before = self._now.clone()  # x(t-1, 0)
        self._momentum = torch.zeros_like(self._now)
        self._late: tuple[Pending, Tensor] | None = None  # x_i(t-1, tau), summed over ranks when it has arrived

    def step(self) -> None:
        here = self._flat.read()
        arrived = self._arrived()
        self._late = self._wire.total(here), here  # begins before the arithmetic
        self._advance(arrived)

    def drain(self) -> None:
        if self._late is not None:
            self._late[0].wait()

    def finish(self) -> None:
        arrived, self._late = self._arrived(), None
        self._advance(arrived)

    def _arrived(self) -> Tensor | None:
        if self._late is None:
            return None
        self._late[0].wait()
        return self._late[1].div_(self._wire.world)

    @torch.no_grad()
    def _advance(self, mean: Tensor | None) -> None:
        now = self._now
        if mean is not None:
            difference = self._before - mean
            unit = self._rate * difference.square().mean().sqrt()
            gap = 1 + (self._now - self._before).abs() / unit.clamp(min=torch.finfo(unit.dtype).tiny)
            self._momentum.mul_(self._beta).add_(difference / gap)
            now = self._now - self._rate * self._momentum.clamp(-self._clip, self._clip)
        self._before, self._now = self._now, now
        self._flat.write(now)


class NoLoCo:
    """Kolehmainen et al., arXiv 2506.10911, equations 1 to 3: ranks of a random pair exchange slow weights x and outer
    gradients d = x(t) - x_i(t, H), and step by a Nesterov momentum with one more term, which pulls a pair together:

        m = alpha m - beta mean(d) - gamma (x - mean(x)),  x = x + m       (means over the pair)

    alpha 0.5, beta 0.7. No rank ever waits for more than one other, and none holds what another holds, but for a world
    of two, which is one pair and stays one model.

    What had to be decided. The sign of d: as printed (weights less slow weights) the equations climb; the authors' code
    descends, as here. gamma: beta, as in the authors' code. Both vectors are sent, as in the paper; with gamma equal to
    beta the weights alone would do. A rank without a partner steps by its own gradient and sends nothing. The paper's
    random routing between stages of pipelines is left out: here is no pipeline.
    """

    def __init__(
        self, parameters: Sequence[Tensor], wire: Wire, seed: int = 0, rate: float = 0.7, momentum: float = 0.5,
        pull: float = 0.7,
    ) -> None:  # fmt: skip
        self._flat, self._wire, self._seed = Flat(parameters), wire, seed
        self._beta, self._alpha, self._gamma = rate, momentum, pull
        self._slow = self._flat.read()
        self._momentum = torch.zeros_like(self._slow)
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        own = torch.stack([self._slow, self._slow - self._flat.read()])
        partner = partners(self._wire.world, self._steps, self._seed)[self._wire.rank]
        self._steps += 1
        mean = own
        if partner is not None:
            other = torch.empty_like(own)
            self._wire.swap(own, other, partner).wait()
            mean = other.add_(own).div_(2)
        apart = self._slow - mean[0]
        self._momentum.mul_(self._alpha).sub_(mean[1], alpha=self._beta).sub_(apart, alpha=self._gamma)
        self._slow += self._momentum
        self._flat.write(self._slow)

    def drain(self) -> None:
        return

    def finish(self) -> None:
        return
