"""What is true of `e2e.cbs.least_squares`, without training: its gradient noise scale, its steps to the target.

For normal rows, E[(xxᵀ)M(xxᵀ)] = 2HMH + H tr(HM) (Isserlis). With M = E[ddᵀ] of the error d and learning rate η, a step
of SGD on a batch of B fresh rows therefore changes the second moments in the eigenbasis of H, m_i = E[d_i²], by

    m_i ← m_i (1 - 2ηλ_i + η²λ_i²(1 + 1/B)) + (η²/B) λ_i (Σ_j λ_j m_j + σ²),

which no moment off the diagonal enters. The averaged weights, a ← (1 - s)a + sd, need c_i = E[a_i d_i] and
q_i = E[a_i²] beside them, which follow from the same expectations. Exact for any B, η and step; the same recursion is
the ground of Zou et al. (arXiv 2103.12692) and Zhang et al. (arXiv 2410.21676, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e2e.cbs.averaging import share_of
from e2e.cbs.least_squares import LeastSquares, Vector

Grid = NDArray[np.float64]

SPAN = 24  # notches of learning rates below the largest stable one that are searched


def noise_scale(task: LeastSquares, weights: Vector) -> float:
    """B_simple = tr(Σ)/|G|² at these weights (McCandlish et al., arXiv 1812.06162, eq. 2.9), in rows.

    G = Hd, and one row's gradient has E[gᵀg] = tr(2Hdd ᵀH + H(dᵀHd + σ²)), so Σ = Hdd ᵀH + H(dᵀHd + σ²)."""
    error = weights - task.solution
    gradient = float(((task.spectrum * error) ** 2).sum())
    spread = gradient + float(task.spectrum.sum()) * float(task.spectrum @ error**2 + task.noise)
    return spread / gradient


def expected_steps(
    task: LeastSquares, batches: Sequence[float], rates: Sequence[float], warmup: int, target: float | None = None,
    limit: int | None = None,
) -> Grid:  # fmt: skip
    """Steps until the expected loss of the averaged weights is at the target, linear between steps: (batches, rates);
    infinite where it is not there by the limit."""
    b, eta = np.asarray(batches, dtype=np.float64)[:, None, None], np.asarray(rates, dtype=np.float64)[:, None]
    lam, goal = task.spectrum, task.target if target is None else target
    m = np.broadcast_to(task.solution**2, (len(batches), len(rates), len(lam))).copy()
    c, q = m.copy(), m.copy()
    found, before = np.full(m.shape[:2], math.inf), np.full(m.shape[:2], task.initial)
    for step in range(1, (limit or task.limit) + 1):
        move = eta * min(1.0, step / warmup)
        noise = (m @ lam + task.noise)[..., None]
        with np.errstate(over="ignore", invalid="ignore"):
            m = m * (1 - 2 * move * lam + move**2 * lam**2 * (1 + 1 / b)) + move**2 / b * lam * noise
            s, kept = share_of(step, task.averaging), c * (1 - move * lam)
            c, q = (1 - s) * kept + s * m, (1 - s) ** 2 * q + 2 * s * (1 - s) * kept + s**2 * m
            loss = (q @ lam + task.noise) / 2
            loss = np.where(np.isfinite(loss) & (loss < 1e6), loss, math.inf)
        m[~np.isfinite(loss)] = c[~np.isfinite(loss)] = q[~np.isfinite(loss)] = math.nan
        hit = (loss <= goal) & np.isinf(found)
        with np.errstate(invalid="ignore"):
            found[hit] = (step - 1 + (before - goal) / (before - loss))[hit]
        before = loss
        if (found.min(axis=1) * 1.05 < step).all():
            break  # what is left is slower than the best rate of its batch
    return found


def best_steps(
    task: LeastSquares, batches: Sequence[float], warmup: int, apart: float, target: float | None = None
) -> Vector:
    """Expected steps at the best rate of the sweep's grid, task.rate · apart^k: (batches,)."""
    top = math.floor(math.log(2 / task.rate) / math.log(apart))
    rates = [task.rate * apart**notch for notch in range(top - SPAN, top + 1)]
    best: Vector = expected_steps(task, batches, rates, warmup, target).min(axis=1)
    return best


def critical_batch(
    task: LeastSquares, reference: int, warmup: int, apart: float, overhead: float = 0.2, target: float | None = None
) -> float:  # fmt: skip
    """B*, in rows: where B · S(B) is (1 + overhead) times what it is at the reference batch (Zhang et al.), to 0.1 %.
    From S(B) itself, not from a form that is fitted to it."""

    def samples(batch: float) -> float:
        return float(batch * best_steps(task, [batch], warmup, apart, target)[0])

    most = (1 + overhead) * samples(reference)
    low, high = float(reference), 2.0 * reference
    while samples(high) < most:
        low, high = high, 2 * high
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if samples(middle) >= most else (middle, high)
    return math.sqrt(low * high)
