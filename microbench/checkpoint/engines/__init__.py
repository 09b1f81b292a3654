"""Checkpoint engines: how each saves the state of training and brings it back. All run inside `harness.children`.

An engine writes a folder of its own for each checkpoint. Its `save` returns when training may go on; what
it gave back waits until the checkpoint would survive a loss of power.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from microbench.checkpoint.state import TrainingState


class Damaged(Exception):
    """The checkpoint is damaged or incomplete, and why: nothing of it may be used."""


class Foreign(Exception):
    """The checkpoint is whole, but of another model, version or number of ranks: it names both sides."""


class Pending(Protocol):
    """A save that training has gone on from. stalled: s that training stood still for it after `save` had
    returned, so far."""

    stalled: float

    def wait(self) -> None:
        """Until it is durable: the last byte on the disk, the manifest written, the folder too. Raises what the
        save failed of."""


class Engine(Protocol):
    """One per process and training run.

    background: whether anything is left to do when `save` returns, beyond an fsync. notes: what a reader of its
    numbers must know. phases: where the time of the last save went, s, as far as the engine tells.
    """

    name: str
    background: bool
    notes: tuple[str, ...]
    phases: dict[str, float]

    def save(self, state: TrainingState, folder: Path) -> Pending:
        """All ranks together; `folder` is new. A second save waits for the first."""

    def load(self, state: TrainingState, folder: Path) -> None:
        """All ranks together, in place. Raises Damaged or Foreign where it can tell; half a load may be left."""

    def complete(self, folder: Path) -> bool:
        """Whether the checkpoint claims to be whole: by its manifest where the engine writes one."""

    def close(self) -> None:
        """End threads and processes."""


def _lazily(path: str) -> Callable[[], Engine]:
    def make() -> Engine:
        module, _, name = path.partition(":")
        made: Callable[[], Any] = getattr(importlib.import_module(f"microbench.checkpoint.engines.{module}"), name)
        engine: Engine = made()
        return engine

    return make


ENGINES: dict[str, Callable[[], Engine]] = {
    "torch": _lazily("torch_file:TorchFile"),
    "dcp": _lazily("dcp:Dcp"),
    "dcp_direct": _lazily("dcp:DcpDirect"),
    "dcp_async": _lazily("dcp_async:DcpAsync"),
    "lazy": _lazily("lazy:Lazy"),
    "megatron": _lazily("megatron:Megatron"),
}
"""Engines that save the state as torch keeps it. Making one imports what it needs, and nothing else does."""

UNIVERSAL = "deepspeed_universal"
ZERO = ("deepspeed", UNIVERSAL)
EVERY = ENGINES | {"deepspeed": _lazily("deepspeed:DeepSpeed"), UNIVERSAL: _lazily("universal:Universal")}
"""With those that keep the state in their own way, under ZeRO."""

ABSENT = {
    "datastates": "nothing here calls DataStates-LLM's own package, which is on no registry, yet: engine=lazy measures "
    "its idea",
    "fastpersist": "DeepSpeed's fast writer does not run on a CPU without changes to its code, and nothing here calls "
    "it on other devices yet",
}
"""Engines that a reader looks for, and why they have no numbers."""


NEEDS = {"megatron": "megatron.core", "deepspeed": "deepspeed", UNIVERSAL: "deepspeed"}
DATASTATES = ("datastates", "datastates_llm", "datastates.llm")
"""Modules that its versions are imported as."""
DIRECT = "dcp_direct"
EIGHTHS = 8  # what the model's widths divide by: shards of one size


def fits(name: str, sharding: str) -> None:
    """ValueError where an engine does not save a state of that sharding."""
    if (name in ZERO) != sharding.startswith("zero"):
        raise ValueError(
            f"engine={name} with sharding={sharding}: {' and '.join(ZERO)} save zero2 and zero3, the others fsdp, tp "
            "and ddp"
        )


def refuses(name: str, ranks: int, device: str, folder: Path | None = None) -> str | None:
    """Why an engine cannot run with that many ranks on that kind of device ('cpu', 'cuda'), or write to that folder;
    None where it can."""
    del device  # each of them runs on both
    if name in ABSENT:
        return f"{ABSENT[name]}{_found() if name == 'datastates' else ''}"
    module = NEEDS.get(name)
    if module is not None and not _there(module):
        return f"{module} is not installed"
    if name == DIRECT and folder is not None and not _direct(folder):
        return "the file system has no direct I/O: engine=dcp writes through the page cache"
    if name == "megatron" and EIGHTHS % ranks:
        return f"megatron-core asks for shards of one size, and the model's widths do not divide by {ranks} ranks"
    return None


def _direct(folder: Path) -> bool:
    from clusters.filesystem import direct_alignment

    return direct_alignment(folder) is not None


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _found() -> str:
    there = [module for module in DATASTATES if _there(module)]
    if there:
        return f" (the module {there[0]} is installed here)"
    return f" (none of the modules {', '.join(DATASTATES)} is installed here)"
