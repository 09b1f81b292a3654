"""What came of one trial of a checkpoint under a fault, by what a restart found. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from harness.records import Struct

if TYPE_CHECKING:
    from microbench.checkpoint.survivors import Found

Fault = Literal["kill", "full", "truncated", "flipped"]


class Outcome(StrEnum):
    """From the best to the worst. The first three are what may happen; the others are faults of the engine.

    A save that lets training go on has promised what it saved only once it is durable: where an older one is loaded
    though a newer one was durable before the fault, that one is lost.
    """

    NEWEST = "newest complete loaded, right"
    PREVIOUS = "damage reported, previous loaded"
    NONE = "damage reported, none left"
    LOST = "durable checkpoint lost"
    HUNG = "hung"
    CRASHED = "crashed without a word"
    SILENT = "wrong state loaded silently"


FAULTS = (Outcome.LOST, Outcome.HUNG, Outcome.CRASHED, Outcome.SILENT)


class Trial(Struct, frozen=True):
    """One trial. detail: what was done and found, in words. moment: when the kill came, as a share of the duration of
    the save before it. save: that duration, s."""

    outcome: Outcome
    detail: str
    moment: float | None = None
    save: float | None = None


def judge(found: Found, durable: int) -> tuple[Outcome, str]:
    """durable: the last step that was so before the fault and that the fault has left alone; 0 for none.

    Refusing what was cut off by the fault itself is right; refusing all where something was durable is a loss.
    """
    refused = "; ".join(f"step {step} refused: {reason}" for step, reason in found.reports)
    newest = max([found.step, *(step for step, _ in found.reports), *found.unfinished])
    if found.wrong:
        names = f"{found.wrong[0]} and {len(found.wrong) - 1} others" if len(found.wrong) > 1 else found.wrong[0]
        return Outcome.SILENT, f"step {found.step} loaded without complaint, and {names} not what was saved"
    if found.step < durable:
        what = f"step {found.step} loaded" if found.step else "nothing loaded"
        left = "" if refused else f"{len(found.unfinished)} folders do not claim to be whole"
        return Outcome.LOST, f"step {durable} was durable, {what}: {refused or left}"
    if not found.step:
        return Outcome.NONE, refused or "no checkpoint claims to be whole"
    if refused:
        return Outcome.PREVIOUS, f"{refused}; step {found.step} loaded"
    left = f", step {newest} had not ended" if newest > found.step else ""
    return Outcome.NEWEST, f"step {found.step} loaded{left}"
