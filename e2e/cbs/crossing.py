"""When a curve of losses comes to a target, between two looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GROWTH = 1.05  # of the step count from one look to the next: linear between them, the crossing is known to 0.1 %


def next_look(step: int) -> int:
    """Looks lie closer than a step apart at first, then at equal ratios: as many for a batch that takes 20 steps as for
    one that takes 20 000 would never do, and a fixed distance would know the short ones least."""
    return max(step + 1, round(step * GROWTH))


def smooth(losses: Sequence[float]) -> list[float]:
    """Running median of three; the ends stand for themselves. A single look that is off is no crossing."""
    held = np.asarray(losses, dtype=np.float64)
    if len(held) < 3:
        return [float(loss) for loss in held]
    inner = np.median(np.stack((held[:-2], held[1:-1], held[2:])), axis=0)
    return [float(held[0]), *map(float, inner), float(held[-1])]


def crossing(looks: Sequence[int], losses: Sequence[float], target: float, last: bool = False) -> float | None:
    """The step at which the smoothed curve first is at the target, linear between looks; None where it is not yet.

    The newest look has no neighbour after it to be smoothed with, so it counts only where it is the `last` one."""
    held = smooth(losses)
    for index in range(1, len(held) if last else len(held) - 1):
        before, now = held[index - 1], held[index]
        if now <= target:
            share = (before - target) / (before - now) if before > now else 1.0
            return looks[index - 1] + min(max(share, 0.0), 1.0) * (looks[index] - looks[index - 1])
    return None
