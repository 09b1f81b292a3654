"""The record of a trial: each of its numbers with what a reader must know of it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.records import Better, Evidence, Measurement, Origin, Params, Rate
from harness.units import Unit
from microbench.checkpoint.trial import Restored, Saved

WANTED = 0.9  # share of the roof below which the record says where the rest went
RAW = "as many processes and bytes, plain positional writes and fsync"
SHARE = "of what the same processes reached with plain writes in the same run, the faster way"
STAGING = "greatest resident memory of all ranks in a save with nothing beside it, over that just before; the first one"
WARM_CACHE = 0.01  # share of a file in memory above which a read is not called cold


def measurements(
    origin: Origin, saved: Sequence[Saved], restored: Sequence[Restored], cold: float, system: str
) -> list[Measurement]:  # fmt: skip
    """saved: of every rank. cold: share of the files that memory held before they were read."""
    first = saved[0]
    rate = (Rate("bandwidth", float(first.written), Unit.BYTE_PER_SECOND),)
    notes = (system, f"{len(saved)} ranks write", *first.notes)
    read = "files evicted before, of which memory held nothing" if cold <= WARM_CACHE else (
        f"cached: memory held {cold:.0%} of the files before they were read"
    )  # fmt: skip
    found = [
        _time("blocked", first.blocked, origin, flags=(system, *first.notes)),
        _time("durable", first.durable, origin, rate, flags=(*notes, *_lost(first))),
        _time("restore", [one.seconds for one in restored], origin, flags=(read, "load and the first step after it")),
        _time("load", [one.load for one in restored], origin, flags=(read,)),
        _time("idle", first.idle, origin, flags=("a step with no save beside it",)),
        *_drag(first, origin),
    ]
    roof = (Rate("roof", float(first.written), Unit.BYTE_PER_SECOND),)
    found += [_time("raw", seconds, origin, roof, {"io": way}, (RAW,)) for way, seconds in first.raw.items()]
    best = [min(ways) for ways in zip(*first.raw.values(), strict=True)]
    shares = [raw / durable for raw, durable in zip(best, first.durable, strict=True)]
    found.append(_count("share", Unit.RATIO, shares, origin, Better.HIGHER, (SHARE,)))
    for part, seconds in first.phases.items():
        found.append(_time("phase", seconds, origin, params={"part": part}, flags=("the slowest rank's",)))
    found.append(_count("state", Unit.BYTE, [float(first.bytes)], origin, Better.LOWER))
    found.append(_count("files", Unit.COUNT, [float(first.files)], origin, Better.LOWER))
    found.append(_count("written", Unit.BYTE, [float(first.written)], origin, Better.LOWER))
    if all(one.staging is not None for one in saved):
        staging = sum(one.staging or 0 for one in saved)
        found.append(_count("staging", Unit.BYTE, [float(staging)], origin, Better.LOWER, (STAGING,)))
    return found


def _drag(saved: Saved, origin: Origin) -> list[Measurement]:
    """A step beside a save against the median of those alone: nothing where no step ran beside one."""
    beside = [step for steps in saved.beside for step in steps]
    if not beside:
        return []
    alone = median(saved.idle)
    flags = ("steps that began before the save was durable on every rank, against the median of those alone",)
    return [_count("drag", Unit.RATIO, [step / alone for step in beside], origin, Better.LOWER, flags)]


def _lost(saved: Saved) -> tuple[str, ...]:
    """Where the time over the roof went, in words, where it is more than is wanted."""
    flags = () if any(saved.beside) else ("n/a: drag, since nothing is left to do when training goes on",)
    best = median(min(ways) for ways in zip(*saved.raw.values(), strict=True))
    durable = median(saved.durable)
    if best / durable >= WANTED:
        return flags
    if not saved.phases:
        return (*flags, f"{best / durable:.0%} of the roof; the engine does not tell where the rest went")
    parts = ", ".join(f"{part} {median(seconds) / durable:.0%}" for part, seconds in saved.phases.items())
    return (*flags, f"{best / durable:.0%} of the roof ({best:.3g} s of {durable:.3g} s); of the time: {parts}")


def _time(
    metric: str, seconds: Sequence[float], origin: Origin, rates: tuple[Rate, ...] = (), params: Params | None = None,
    flags: tuple[str, ...] = (),
) -> Measurement:  # fmt: skip
    return Measurement(
        metric, Unit.SECOND, Better.LOWER, tuple(seconds), origin, None, rates, Evidence(flags=flags), params or {}
    )


def _count(
    metric: str, unit: Unit, samples: Sequence[float], origin: Origin, better: Better, flags: tuple[str, ...] = ()
) -> Measurement:  # fmt: skip
    return Measurement(metric, unit, better, tuple(samples), origin, evidence=Evidence(flags=flags))
