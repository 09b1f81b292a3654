"""Megatron's own timers as the phases of a step: it starts and stops them around the work of each micro-batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.trainers import Phase

PHASES = {"forward-compute": "forward", "backward-compute": "backward"}


class Marks:
    """What megatron takes for its timers: called with a timer's name, it gives one. phase: of the step that runs."""

    phase: Phase

    def __init__(self) -> None:
        self._held: dict[str, Mark] = {}

    def __call__(self, name: str, log_level: int | None = None) -> Mark:
        """Waiting and messages have timers too; they are in no phase."""
        return self._held.setdefault(name, Mark(self, PHASES.get(name)))


class Mark:
    """One timer."""

    def __init__(self, marks: Marks, name: str | None) -> None:
        self._marks, self._name = marks, name
        self._open: AbstractContextManager[object] = nullcontext()

    def start(self, barrier: bool = False) -> None:
        """barrier: megatron's, which would wait for every rank to time them all alike; phases are each rank's own."""
        if self._name is not None:
            self._open = self._marks.phase(self._name)
        self._open.__enter__()

    def stop(self, barrier: bool = False) -> None:
        self._open.__exit__(None, None, None)
