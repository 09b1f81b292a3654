"""DeepSpeed's compiled operators: built once, in a process of their own, with progress; never waited for in vain.

torch compiles an operator on first use, which takes minutes, and keeps it in its cache of extensions. While it does,
a file `lock` lies in the build folder; of a build that was killed it stays, and torch then waits for ever.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harness import children
from harness.child import Place
from harness.errors import Skip
from harness.records import Struct
from harness.units import show_duration

if TYPE_CHECKING:
    from harness.context import Context

BUILDERS = {
    "async_io": "AsyncIOBuilder", "gds": "GDSBuilder", "cpu_adam": "CPUAdamBuilder", "fused_adam": "FusedAdamBuilder",
    "utils": "UtilsBuilder", "pin_memory": "PinMemoryBuilder",
}  # fmt: skip
"""Operators that may be asked for, with DeepSpeed's name of what builds each."""

BEFORE = {"async_io": ("pin_memory",), "gds": ("pin_memory",)}  # operators that DeepSpeed builds first
LIMIT = 1800.0  # s for a build: the longest takes four minutes on two cores
QUIET = 120.0  # s: a build that nobody on this host holds and that has changed nothing for so long is dead

_ready: set[str] = set()


class Operator(Struct, frozen=True):
    """What the child builds."""

    name: str


class Built(Struct, frozen=True):
    """path: of the module."""

    path: str


def ensure(ctx: Context, name: str) -> None:
    """The operator is built and loads. Skips, with DeepSpeed's own reason, where it cannot be; names a build lock
    that was left behind. Every rank of a launch may ask: torch lets one of them build."""
    if name in _ready:
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise Skip("DeepSpeed is not installed: pip install deepspeed")
    for each in (*BEFORE.get(name, ()), name):
        stale = stale_lock(build_folder(each))
        if stale is not None:
            raise Skip(
                f"a build of DeepSpeed's {each} was broken off and its lock is left, so that torch waits for ever: "
                f"remove {stale} and run again"
            )
    from microbench.storage import room

    work = children.Work("microbench.storage.operators:build", Operator(name), threads=max(1, os.cpu_count() or 1))
    with room.opened(ctx, f"build-{name}-{ctx.ranks.rank}") as folder:
        ended = children.run(work, folder / "world", LIMIT, ctx.say, f"builds DeepSpeed's {name}, once")[0]
    if not ended.ok:
        raise Skip(f"DeepSpeed's {name} cannot be built here: {_reason(ended)}")
    _ready.add(name)


def load(name: str) -> ModuleType:
    """The operator's module, in this process; `ensure` comes first."""
    from deepspeed.accelerator import get_accelerator

    builder = get_accelerator().create_op_builder(BUILDERS[name])
    if builder is None:
        raise RuntimeError(f"DeepSpeed has no {name} for this device")
    module: ModuleType = builder.load(verbose=False)
    return module


def build(place: Place) -> Built:
    """In a child: compile and load."""
    return Built(str(load(place.read(Operator).name).__file__))


def build_folder(name: str) -> Path:
    """Where torch builds an operator: TORCH_EXTENSIONS_DIR, or its cache, by Python and device."""
    from torch.utils import cpp_extension

    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return Path(given) / name
    import torch

    hip, cuda = torch.version.hip, torch.version.cuda
    device = f"rocm{hip.replace('.', '')}" if hip else f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    python = f"py{sys.version_info.major}{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
    return Path(cpp_extension.get_default_build_root()) / f"{python}_{device}" / name


def stale_lock(folder: Path) -> Path | None:
    """The lock of a build whose process is gone, where there is one. A builder keeps its lock open; one that is not
    this user's, or on another host, shows by what changes in the folder."""
    lock = folder / "lock"
    if not lock.exists() or _held(lock):
        return None
    try:
        changed = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return None  # it goes away just now: at work
    return lock if time.time() - changed > QUIET and lock.exists() else None


def _held(lock: Path) -> bool:
    """Whether a process on this host, as far as this user may look, has it open."""
    wanted = lock.resolve()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if entry.readlink() == wanted:
                return True
        except OSError:
            continue
    return False


def _reason(ended: children.Ended) -> str:
    """DeepSpeed's warning or the compiler's error, where the log has one; else the last line."""
    if ended.late:
        return f"it was not done after {show_duration(LIMIT)}"
    marks = ("fatal error:", "error:", "Error: ", "[WARNING]")
    lines = [line.strip() for line in ended.log.splitlines()]
    found = next((line for mark in marks for line in lines if mark in line), "")
    return (found or ended.reason)[:300]
