"""From what the ranks of a training world tell to measurements: times, memory, traffic, and efficiency twice.

Each metric, and what its params say:
step (and the rate tokens) · base: the same with nothing offloaded · part {part}: what a step is made of, which adds up
to it · swap {direction}: the swaps of a step by themselves, with the rate `swapped` · moved {direction}: B a step ·
memory {tier, by} · efficiency: measured · predicted {model}: from `base` and `swap` · predicted {state} and
needed {state}: the paper's formula, and the bandwidth for 90 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from harness.models import swapping
from harness.models.counts import training_flops
from harness.models.zero import needed
from harness.records import Better, Evidence, Measurement, Origin, Params, Rate
from harness.units import Unit
from microbench.offload.zero_asked import KINDS, Replay, Step, Told
from microbench.offload.zero_config import set_aside

if TYPE_CHECKING:
    from microbench.offload.training import TrainingParams

DIRECTIONS = dict(zip(KINDS, ("in", "out"), strict=True))
TIMED = "phases timed around the engine's forward, backward and step, Adam around its own, swaps at the I/O handle"
STATES_ONLY = "formula: model states, the largest piece at work, activations with a checkpoint a layer"
BUFFERS = "and the buffers that DeepSpeed is configured to have"
HOST_DEVICE = "the device is the host's processors: what the formula puts on the device lies in the host's memory"
SAME = "the same stage with nothing offloaded, in turn with the steps"
FEWER = "modelled from medians of this cell"


def measurements(
    params: TrainingParams, told: Sequence[Told], origin: Origin, flags: Sequence[str]
) -> list[Measurement]:
    """Of a whole cell. Times are the slowest rank's; bytes and host memory are of all ranks together."""
    steps = _slowest([one.steps for one in told])
    tokens = params.sequence * params.batch * params.processes
    rates = (Rate("tokens", float(tokens), Unit.TOKEN_PER_SECOND),)
    held = [_of("step", [s.total for s in steps], Unit.SECOND, origin, {}, (TIMED, *flags), rates)]
    parts: dict[str, list[float]] = {}
    for step in steps:
        for name, value in split(step).items():
            parts.setdefault(name, []).append(value)
    held += [_of("part", values, Unit.SECOND, origin, {"part": name}) for name, values in parts.items()]
    held += _memory(params, told, origin)
    if told[0].base:
        base = _slowest([one.base for one in told])
        ratios = [each / step.total for each, step in zip(_pairs([s.total for s in base]), steps, strict=True)]
        held.append(_of("base", [s.total for s in base], Unit.SECOND, origin, {}, (SAME,)))
        held.append(_of("efficiency", ratios, Unit.RATIO, origin, {}, better=Better.HIGHER))
        held += _swaps(params, told, base, origin)
    return held


def split(step: Step) -> dict[str, float]:
    """A step as what it is made of, in s: forward and backward without their swaps, Adam, swaps in and out, and the
    rest (gradients that are shared out, copied and scaled)."""
    blocked = {kind: sum(m.blocked for m in step.moved if m.kind == kind) for kind in KINDS}
    inside = {phase: sum(m.blocked for m in step.moved if m.phase == phase) for phase in ("forward", "backward")}
    found = {
        "forward": step.forward - inside["forward"], "backward": step.backward - inside["backward"],
        "optimizer": step.optimizer, "swap in": blocked["read"], "swap out": blocked["write"],
    }  # fmt: skip
    return found | {"other": step.total - sum(found.values())}


def _slowest(ranks: Sequence[Sequence[Step]]) -> list[Step]:
    """Of each step, the rank that took longest (METHOD 2)."""
    return [max(those, key=lambda step: step.total) for those in zip(*ranks, strict=True)]


def _pairs(values: Sequence[float]) -> list[float]:
    """The mean of the base's steps before and after each step."""
    return [(before + after) / 2 for before, after in zip(values[::2], values[1::2], strict=True)]


def _memory(params: TrainingParams, told: Sequence[Told], origin: Origin) -> list[Measurement]:
    """Measured beside what the formulas say; host and nvme of all ranks, device of the one that holds most."""
    formula = needed(params.described, params.plan, params.sequence, params.batch)
    apart = "device" in told[0].memory
    said = {"host": formula.host, "nvme": formula.nvme}
    said["device" if apart else "host"] = formula.device + (0.0 if apart else said["host"])
    if not apart:
        said["host"] = formula.device * params.processes + formula.host
    found = []
    for tier in told[0].memory:
        sizes = [one.memory[tier] for one in told]
        size = max(sizes) if tier == "device" else sum(sizes) if tier == "host" else max(sizes)
        found.append(_of("memory", [float(size)], Unit.BYTE, origin, {"tier": tier, "by": "measured"}))
        flags = (STATES_ONLY,) if apart else (STATES_ONLY, HOST_DEVICE)
        found.append(_of("memory", [said[tier]], Unit.BYTE, Origin.MODELLED, {"tier": tier, "by": "formula"}, flags))
        if tier == "host":
            whole = said[tier] + params.processes * set_aside(params.asked())
            by: Params = {"tier": tier, "by": "buffers"}
            found.append(_of("memory", [whole], Unit.BYTE, Origin.MODELLED, by, (*flags, BUFFERS)))
    return found


def _swaps(params: TrainingParams, told: Sequence[Told], base: Sequence[Step], origin: Origin) -> list[Measurement]:
    """Traffic, its bandwidth by itself, and the efficiency that follows."""
    sizes = {kind: _moved(told, kind) for kind in KINDS}
    if not any(sizes.values()):
        return []
    held = []
    replays = [max(those, key=lambda r: r.read + r.write) for those in zip(*(o.replays for o in told), strict=True)]
    for kind, size in sizes.items():
        if size:
            direction: Params = {"direction": DIRECTIONS[kind]}
            rates = (Rate("swapped", size, Unit.BYTE_PER_SECOND),)
            seconds = [getattr(replay, kind) for replay in replays]
            held.append(_of("moved", [size], Unit.BYTE, origin, direction))
            held.append(_of("swap", seconds, Unit.SECOND, origin, direction, rates=rates))
    apart = "device" in told[0].memory
    held += _modelled(params, base, replays, sum(sizes.values()) / params.processes, apart)
    return held


def _moved(told: Sequence[Told], kind: str) -> float:
    """B that all ranks together move in a step; steps do not differ but in the first ones."""
    return sum(median(sum(m.size for m in step.moved if m.kind == kind) for step in one.steps) for one in told)


def _modelled(
    params: TrainingParams, base: Sequence[Step], replays: Sequence[Replay], moved: float, apart: bool
) -> list[Measurement]:
    """moved: B of one rank. The peak of the formula is what the step with everything in memory reaches."""
    middle = {name: median(getattr(step, name) for step in base) for name in ("forward", "backward", "step", "total")}
    work = swapping.Work(middle["forward"], middle["backward"], middle["step"])
    whole, forward = (median(values) for values in zip(*((r.read + r.write, r.forward) for r in replays), strict=True))
    swaps = swapping.Swaps(forward, max(0.0, whole - forward))
    found = {
        "nothing overlapped": swapping.unhidden(work, swaps), "overlapped": swapping.overlapped(work, swaps, apart),
    }  # fmt: skip
    held = [_modelled_ratio(value, {"model": model}) for model, value in found.items()]
    peak = training_flops(params.described, params.sequence, params.batch) / middle["total"]
    bandwidth = moved / whole
    for state in swapping.STATES:
        ait = swapping.intensity(state, params.sequence, params.batch, params.described.hidden)
        held.append(_modelled_ratio(swapping.efficiency(ait, bandwidth, peak), {"state": state}))
        least = swapping.bandwidth_for(ait, peak)
        held.append(_of("needed", [least], Unit.BYTE_PER_SECOND, Origin.MODELLED, {"state": state}, (FEWER,)))
    return held


def _modelled_ratio(value: float, params: Params) -> Measurement:
    return _of("predicted", [value], Unit.RATIO, Origin.MODELLED, params, (FEWER,), better=Better.HIGHER)


def _of(
    metric: str, samples: Iterable[float], unit: Unit, origin: Origin, params: Params, flags: Sequence[str] = (),
    rates: tuple[Rate, ...] = (), better: Better = Better.LOWER,
) -> Measurement:  # fmt: skip
    evidence = Evidence(flags=tuple(flags))
    return Measurement(metric, unit, better, tuple(samples), origin, None, rates, evidence, params)
