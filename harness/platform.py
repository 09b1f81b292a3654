"""What a worker measures with: built for a job by `clusters.platforms`, used by `harness.worker`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.accelerator import Accelerator
from harness.operands import Arena
from harness.ranks import Ranks
from harness.records import TimerHonesty
from harness.sampling import Meter

Telemetry = dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Platform:
    """One rank's means. telemetry() gives what was sampled since it was last asked, notices() what
    a reader of the records must know of the platform as it is now."""

    accelerator: Accelerator
    ranks: Ranks
    meter: Meter
    arena: Arena
    timer: TimerHonesty | None
    telemetry: Callable[[], Telemetry]
    close: Callable[[], None]
    speaks_for: int = 1  # ranks that this process writes reports for
    notices: Callable[[], tuple[str, ...]] = tuple


def resolve(reference: str) -> Callable[..., Any]:
    """The function that 'package.module:name' names."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
