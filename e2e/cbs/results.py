"""Trials into measurements: what was measured at each batch size, what did not get there, and the sweep itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from e2e.cbs.sweep import Held, Sweep, best
from e2e.cbs.trials import LATE, Trained
from e2e.gradient_noise import measurements as norms
from harness.records import Better, Evidence, Measurement, Origin, Params
from harness.units import Unit

METRIC = {"reached": "steps", "censored": "censored", "diverged": "diverged"}


def measurements(
    sweep: Sweep, held: Held, rate: Callable[[int], float], target: float, origin: Origin
) -> list[Measurement]:  # fmt: skip
    """steps: to the target, one sample a seed. censored: steps after which a seed had not reached it. diverged: steps
    at which a seed was given up. trial: the sweep that tuned the rate, one measurement for each rate and way to end."""
    found = list[Measurement]()
    never = not any(one.ended == "reached" for one in held.values())
    for batch in sorted(sweep.starts):
        notch, inside = best(sweep, batch, held)
        measured = [one for (size, _, seed), one in held.items() if size == batch and seed > 0]
        flags = _flags(held, target, inside, never)
        params = _params(batch, rate(notch), target)
        found += [*_by_end(measured, params, origin, flags), *_noise(measured, batch, params, origin)]
        notches = sorted({at for size, at, seed in held if size == batch and seed <= 0})
        for at in notches:
            tuned = [one for (size, other, seed), one in held.items() if (size, other) == (batch, at) and seed <= 0]
            found += _by_end(tuned, _params(batch, rate(at), target), origin, flags if never else (), "trial")
    return found


def _params(batch: int, rate: float, target: float) -> Params:
    return {"batch": batch, "learning_rate": rate, "target": target}


def _by_end(
    those: Sequence[Trained], params: Params, origin: Origin, flags: tuple[str, ...], metric: str = ""
) -> list[Measurement]:  # fmt: skip
    held: Mapping[str, list[Trained]] = {ended: [one for one in those if one.ended == ended] for ended in METRIC}
    return [
        Measurement(
            metric or METRIC[ended], Unit.COUNT, Better.LOWER, tuple(one.steps for one in some), origin,
            params=params | ({"ended": ended} if metric else {}),
            evidence=Evidence(stopped=_words(ended), flags=(*flags, *_passes(some))),
        )
        for ended, some in held.items() if some
    ]  # fmt: skip


def _noise(those: Sequence[Trained], batch: int, params: Params, origin: Origin) -> list[Measurement]:
    """Squared norms of gradients on the last part of the way to the target, of all seeds that came to it."""
    arrived = [one for one in those if one.ended == "reached"]
    small, big = (tuple(norm for one in arrived for norm in getattr(one, name)) for name in ("small", "big"))
    flags = (f"at the weights of the last {LATE:.0%} of each run's steps, not at the averaged ones",)
    return norms(small, big, batch / 2, float(batch), origin, flags, params)


def _words(ended: str) -> str:
    return {
        "reached": "target reached",
        "censored": "step limit, target not reached",
        "diverged": "the loss became no number or rose past its beginning",
    }[ended]


def _flags(held: Held, target: float, inside: bool, never: bool) -> tuple[str, ...]:
    if never:
        closest = min(held.values(), key=lambda one: one.lowest)
        return (
            f"no run reached the target {target:g}; the lowest loss was {closest.lowest:.4g}, at batch "
            f"{closest.trial.batch} within {closest.trial.limit} steps: take a target above it, or a larger limit",
        )
    return () if inside else ("the best learning rate is at the end of what was tried: give another rate or reach",)


def _passes(those: Sequence[Trained]) -> tuple[str, ...]:
    most = max(one.passes for one in those)
    return (f"the training text was gone through {most:.1f} times",) if most > 1 else ()
