"""What a job told, as the measurements of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.told import PARTS
from harness.models.counts import recomputed_flops, training_flops
from harness.records import Better, Cadence, Evidence, Measurement, Origin, Rate
from harness.units import Unit

if TYPE_CHECKING:
    from e2e.asked import Asked
    from e2e.told import Told

KEPT_LOSSES = 100


def measurements(told: Told, asked: Asked, ranks: int, origin: Origin) -> list[Measurement]:
    """The step's time with its rates; its parts; memory, energy, losses, gradient norms, each where it was taken."""
    from e2e import gradient_noise

    flags = told.notes + (() if told.settled else ("steps had not settled when the timing began",))
    flags += (f"no gradient noise scale: {told.noiseless}",) if told.noiseless else ()
    held = [_time(told, asked, ranks, origin, flags), *_parts(told, origin), *_rest(told, asked, origin)]
    if told.small:
        held += gradient_noise.measurements(told.small, told.big, told.b_small, told.b_big, origin)
    return held


def rates(asked: Asked, ranks: int) -> tuple[Rate, ...]:
    """Of one rank and step: tokens; model FLOP, with the pairs that a causal kernel needs (MFU's numerator); with what
    backward works out again (HFU's)."""
    model, sequence, batch = asked.model, asked.sequence, asked.batch
    flops = training_flops(model, sequence, batch, causal=True)
    again = recomputed_flops(model, sequence, batch, asked.recompute, causal=True)
    return (
        Rate("tokens", batch * sequence / ranks, Unit.TOKEN_PER_SECOND),
        Rate("flops", flops / ranks, Unit.FLOP_PER_SECOND),
        Rate("hardware_flops", (flops + again) / ranks, Unit.FLOP_PER_SECOND),
    )


def _time(told: Told, asked: Asked, ranks: int, origin: Origin, flags: tuple[str, ...]) -> Measurement:
    """Total time over steps: a job pays for its slow ones too, so their mean counts, not their median. Without a width:
    rank 0 alone holds it, and a visit for a narrower one would be another job."""
    stopped = told.stopped if told.width is None else f"{told.stopped}, at ±{told.width:.1%}"
    evidence = Evidence(
        warmup=told.warmup, settled=told.settled, stopped=stopped, rank_medians=told.busy, flags=flags
    )  # fmt: skip
    return Measurement(
        "time.streaming", Unit.SECOND, Better.LOWER, told.steps, origin, Cadence.STREAMING, rates(asked, ranks),
        evidence, statistic="mean",
    )  # fmt: skip


def _parts(told: Told, origin: Origin) -> list[Measurement]:
    """Seconds of each part, in steps that a profiler watched; how much it slowed them is said."""
    if not told.parts:
        return []
    slowed = sum(one.step for one in told.parts) / len(told.parts) / (sum(told.steps) / len(told.steps))
    flag = f"of steps under a profiler, which took {slowed:.2f} times as long as the timed ones; rank 0's"
    return [
        Measurement(
            "part", Unit.SECOND, Better.LOWER, tuple(max(0.0, one.parts[at]) for one in told.parts), origin,
            evidence=Evidence(flags=(flag,)), params={"part": name},
        )
        for at, name in enumerate(PARTS)
    ]  # fmt: skip


def _rest(told: Told, asked: Asked, origin: Origin) -> list[Measurement]:
    tokens = asked.batch * asked.sequence
    held = [
        Measurement("memory", Unit.BYTE, Better.LOWER, (float(value),), origin, params={"tier": tier})
        for tier, value in told.memory.items()
    ]
    if told.energy is not None:
        flag = "J of one token, over all devices, during the timed steps"
        held.append(
            Measurement("energy", Unit.JOULE, Better.LOWER, (told.energy / tokens,), origin,
                        evidence=Evidence(flags=(flag,)))
        )  # fmt: skip
    losses = tuple(loss for loss in told.losses[:KEPT_LOSSES] if loss is not None)  # a job of others has no record
    flag = f"mean cross-entropy of the first {len(losses)} steps, nats a token"
    held.append(Measurement("loss", Unit.RATIO, Better.LOWER, losses, origin, evidence=Evidence(flags=(flag,))))
    return held
