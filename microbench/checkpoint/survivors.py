"""What is written before a fault, and what is found after it: both run on every rank of a forked world.

The state has the content that follows from its step, so that what comes back is known bit for bit. Checkpoints
lie in folders `step-00000001`, ... of one folder, and a reader takes them as a restart does: the newest that
claims to be whole first, the one before it where that is damaged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.records import Struct
from microbench.checkpoint.engines import EVERY
from microbench.checkpoint.state import Shape
from microbench.checkpoint.zero_state import make

T = TypeVar("T")

KEPT = 2  # checkpoints that a job keeps, beside the one that is being written


class Written(Struct, frozen=True):
    """A writer's end. saved: the last step that was durable. reason: what the save after it failed of."""

    saved: int
    reason: str = ""


class Found(Struct, frozen=True):
    """A restart's end, the same on every rank. step: of what was loaded; 0 where nothing was. wrong: names of
    tensors whose content is not that step's. reports: (step, reason) of each that claimed to be whole and was
    refused. unfinished: steps that did not claim to be."""

    step: int
    wrong: tuple[str, ...] = ()
    reports: tuple[tuple[int, str], ...] = ()
    unfinished: tuple[int, ...] = ()


def step_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def write(engine: str, shape: Shape, folder: Path, steps: int, mark: Callable[[str], None]) -> Written:
    """Save steps 1 to `steps`. mark: told 'begin N' and 'end N' around each save, end once it is durable."""
    import torch

    state, saver = make(shape, engine), EVERY[engine]()
    for step in range(1, steps + 1):
        state.fill(step)
        torch.distributed.barrier()
        mark(f"begin {step}")
        try:
            pending = saver.save(state, step_folder(folder, step))
            if saver.background:
                state.step()  # training goes on, and changes what is being saved
            pending.wait()
        except BaseException as error:  # DCP's own is no Exception
            return Written(step - 1, reason_of(error))
        torch.distributed.barrier()
        mark(f"end {step}")
        if torch.distributed.get_rank() == 0 and step > KEPT:
            shutil.rmtree(step_folder(folder, step - KEPT))
    saver.close()
    return Written(steps)


def find(engine: str, shape: Shape, folder: Path) -> Found:
    """Load as a restart does. A reason that one rank has counts for all."""
    state, loader = make(shape, engine), EVERY[engine]()
    reports, unfinished = list[tuple[int, str]](), list[int]()
    for path in sorted(folder.glob("step-*"), reverse=True):
        step = int(path.name.partition("-")[2])
        if not loader.complete(path):
            unfinished.append(step)
            continue
        reason = ""
        try:
            loader.load(state, path)
        except BaseException as error:
            reason = reason_of(error).replace(f"{folder}{os.sep}", "")
        reason = next(filter(None, _all(reason)), "")
        if not reason:
            wrong = tuple(dict.fromkeys(name for names in _all(state.differences(step)) for name in names))
            return Found(step, wrong, tuple(reports), tuple(unfinished))
        reports.append((step, reason))
    return Found(0, (), tuple(reports), tuple(unfinished))


def reason_of(error: BaseException) -> str:
    """Its first line, with its kind: 'Damaged: ...'. DCP collects the errors of all ranks: the first one's."""
    failures = getattr(error, "failures", None)
    if failures:
        error = next(iter(failures.values()))[0]
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else 'no word of why'}"


def _all(value: T) -> list[T]:
    """Of every rank."""
    import torch

    held: list[T] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(held, value)
    return held
