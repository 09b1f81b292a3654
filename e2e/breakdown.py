"""Where a step's time goes: forward, backward, optimizer, data, communication that nothing hides, and the rest.

Steps of their own are looked at with torch's profiler, after the timed ones. Communication is exposed while a
collective runs and no arithmetic does, as Holistic Trace Analysis defines it; that time is taken off the phase in
which it falls, so that the parts add up to the step. On a device the kernels' own times count, and the phases as the
device reaches them; on a CPU the operations of all threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.told import PHASES, Parts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

MARK = "bench."
COLLECTIVE = ("gloo:", "nccldevkernel", "ncclkernel", "rccl")
"""How collectives are called: gloo's spans on a CPU, kernels of NCCL and of RCCL (which keeps NCCL's names)."""
Spans = list[tuple[float, float]]


@dataclass(frozen=True)
class Event:
    """What a profiler saw: times in s on one clock. kind: a phase or a step that this project marked, a collective, or
    arithmetic."""

    name: str
    kind: str
    begin: float
    end: float


def observe(step: Callable[[], object], marked: Callable[[str], AbstractContextManager[object]], steps: int,
            device: torch.device) -> list[Parts]:  # fmt: skip
    """Profile `steps` steps; one `Parts` for each."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type != "cpu" else [])
    with profile(activities=kinds, acc_events=True) as seen:
        for _ in range(steps):
            with marked("step"):
                step()
    return [split(held) for held in by_step(list(events(seen.events() or [], device.type != "cpu")))]


def events(seen: Iterable[Any], on_device: bool) -> Iterator[Event]:
    """A profiler's events as this module takes them; only those of the device where there is one."""
    for one in seen:
        if on_device and "cpu" in str(one.device_type).lower():
            continue
        begin, end = one.time_range.start * 1e-6, one.time_range.end * 1e-6
        kind = _kind(one.name, on_device)
        if kind:
            yield Event(one.name.removeprefix(MARK), kind, begin, end)


def _kind(name: str, on_device: bool) -> str:
    """What an event is; '' for what is none of these: on a CPU a call that may only wait for one of them."""
    if name.startswith(MARK):
        return "mark"
    if name.lower().startswith(COLLECTIVE):
        return "collective"
    return "arithmetic" if on_device or name.startswith("aten::") or "fused" in name else ""


def by_step(seen: Sequence[Event]) -> list[list[Event]]:
    """Events of each marked step."""
    steps = sorted((one for one in seen if one.name == "step"), key=lambda one: one.begin)
    return [[one for one in seen if one.end > step.begin and one.begin < step.end] for step in steps]


def split(seen: Sequence[Event]) -> Parts:
    """The parts of one step; with the rest they add up to it."""
    step = next(one for one in seen if one.name == "step")
    whole = [(step.begin, step.end)]
    busy = union((one.begin, one.end) for one in seen if one.kind == "arithmetic")
    exposed = overlap(without(union((one.begin, one.end) for one in seen if one.kind == "collective"), busy), whole)
    parts = []
    for phase in PHASES:
        held = overlap(union((one.begin, one.end) for one in seen if one.kind == "mark" and one.name == phase), whole)
        parts.append(length(without(held, exposed)))
    shown = length(exposed)
    return Parts(step.end - step.begin, (*parts, shown, step.end - step.begin - sum(parts) - shown))


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """The spans joined where they touch or overlap, in order."""
    joined: Spans = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def overlap(one: Spans, other: Spans) -> Spans:
    """What lies in both; each a union."""
    found, at = [], 0
    for begin, end in one:
        while at < len(other) and other[at][1] <= begin:
            at += 1
        place = at
        while place < len(other) and other[place][0] < end:
            found.append((max(begin, other[place][0]), min(end, other[place][1])))
            place += 1
    return [span for span in found if span[1] > span[0]]


def without(one: Spans, other: Spans) -> Spans:
    """What lies in the first and not in the second; each a union."""
    found: Spans = []
    for begin, end in one:
        for low, high in overlap([(begin, end)], other):
            if low > begin:
                found.append((begin, low))
            begin = high
        if end > begin:
            found.append((begin, end))
    return found


def length(spans: Spans) -> float:
    return sum(end - begin for begin, end in spans)
