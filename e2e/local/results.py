"""What a comparison told, as the measurements of its record: each carries its method, and none gains by a revisit,
which would train the same seeds again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.local.told import METHODS, SYNCHRONOUS, TOGETHER
from harness.records import Better, Cadence, Evidence, Measurement, Origin, Params, Rate
from harness.units import Unit

if TYPE_CHECKING:
    from e2e.local.told import Job, Told

EQUAL = 1e-6  # spread of weights over ranks that hold the same, relative; sums of float32 come no nearer


def wrong(told: Told) -> str:
    """What is wrong with weights that should be the same on all ranks and are not; else ''."""
    for name in TOGETHER:
        apart = told.spread.get(name) or 0.0
        if apart > EQUAL:
            return f"{name}: after an outer step the ranks' weights differ by {apart:.2g} of their size"
    return ""


def measurements(told: Told, job: Job, ranks: int, origin: Origin) -> list[Measurement]:
    """time of a round with its tokens per second; speedup over DDP, turn by turn; B sent for each token; s waited in
    outer steps; held-out loss, and its ratio to DDP's, seed by seed; spread of NoLoCo's weights over ranks."""
    tokens = job.local_steps * job.asked.batch * job.asked.sequence  # of a round, all ranks
    flags = _flags(job, ranks)
    held = list[Measurement]()
    for name in METHODS:
        own: Params = {"method": name}
        held.append(_time(told.times[name], told, tokens, ranks, own, origin, flags))
        if name != SYNCHRONOUS:
            held.append(_speedup(told, name, own, origin, flags))
        held.append(_sent(told, name, tokens / ranks, own, origin))
        if name in told.waited:
            held.append(_plain("wait", Unit.SECOND, told.waited[name], own, origin, (
                "of a round's time, on the rank that waited longest for an exchange; DDP's waiting is inside backward",
            )))  # fmt: skip
        held += _loss(told, job, name, tokens, own, origin)
    return held


def _flags(job: Job, ranks: int) -> tuple[str, ...]:
    """What a reader of the times must know."""
    held = [f"a round is {job.local_steps} steps and, but for ddp, an outer step; methods in turns in one world"]
    if job.bandwidth:
        held.append(
            f"bandwidth declared, not shaped: each rank's link is held to {job.bandwidth:.4g} B/s of payload by waiting"
        )
    if ranks % 2:
        held.append(f"{ranks} ranks make no whole pairs: in each of NoLoCo's outer steps one sits out")
    return tuple(held)


def _plain(
    metric: str, unit: Unit, samples: tuple[float, ...], own: Params, origin: Origin, flags: tuple[str, ...] = ()
) -> Measurement:  # fmt: skip
    return Measurement(metric, unit, Better.LOWER, samples, origin, params=own, evidence=Evidence(flags=flags))


def _time(
    taken: tuple[float, ...], told: Told, tokens: float, ranks: int, own: Params, origin: Origin, flags: tuple[str, ...]
) -> Measurement:  # fmt: skip
    """Total time over rounds, so their mean counts."""
    rates = (
        Rate("tokens", tokens / ranks, Unit.TOKEN_PER_SECOND),
        Rate("tokens_of_all", tokens, Unit.TOKEN_PER_SECOND),
    )
    return Measurement(
        "time.streaming", Unit.SECOND, Better.LOWER, taken, origin, Cadence.STREAMING, rates,
        Evidence(warmup=1, stopped=told.stopped, flags=flags), own, statistic="mean",
    )  # fmt: skip


def _speedup(told: Told, name: str, own: Params, origin: Origin, flags: tuple[str, ...]) -> Measurement:
    pairs = zip(told.times[SYNCHRONOUS], told.times[name], strict=True)
    evidence = Evidence(1, stopped=told.stopped, flags=("tokens per second over DDP's of the same turn", *flags))
    ratios = tuple(ddp / taken for ddp, taken in pairs)
    return Measurement("speedup", Unit.RATIO, Better.HIGHER, ratios, origin, params=own, evidence=evidence)


def _sent(told: Told, name: str, tokens: float, own: Params, origin: Origin) -> Measurement:
    flag = f"payload that a rank sends for each token it trains on, mean over ranks, {told.parameters} weights of 4 B: "
    flag += "counted as it is handed over, an all-reduce of S as 2(n-1)/n S; headers are not in it"
    return _plain("sent", Unit.BYTE, (told.sent[name] / tokens,), own, origin, (flag,))


def _loss(told: Told, job: Job, name: str, tokens: float, own: Params, origin: Origin) -> list[Measurement]:
    """A seed that diverged has no loss; it is counted, and the others stand."""
    seeds = told.losses.get(name, ())
    pairs = list(zip(seeds, told.losses.get(SYNCHRONOUS, ()), strict=True))
    flags = (
        f"held-out, nats a token, after {job.rounds * tokens:.0f} tokens of all ranks, one sample a seed",
        f"one inner learning rate for all methods, {job.asked.learning_rate:g}: none is tuned",
    )
    diverged = sum(loss is None for loss in seeds)
    held = []
    if diverged:
        flag = f"of {len(seeds)} seeds, whose held-out loss is no number: a lower learning_rate may keep them"
        held.append(_plain("diverged", Unit.COUNT, (float(diverged),), own, origin, (flag,)))
    if losses := tuple(loss for loss in seeds if loss is not None):
        held.append(_plain("loss", Unit.RATIO, losses, own, origin, flags))
    ratios = tuple(loss / ddp for loss, ddp in pairs if loss is not None and ddp is not None)
    if ratios and name != SYNCHRONOUS:
        held.append(_plain("loss_ratio", Unit.RATIO, ratios, own, origin, ("over DDP's of the same seed", *flags)))
    spread = None if name in TOGETHER else told.spread.get(name)
    if spread is not None:
        flag = "standard deviation of the weights over ranks at the end against their root mean square"
        held.append(_plain("spread", Unit.RATIO, (spread,), own, origin, (flag,)))
    return held
