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
    from microbench.checkpoint.sharding import Sharding
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
    "datastates": _lazily("datastates:DataStates"),
    "megatron": _lazily("megatron:Megatron"),
}
"""Engines that save the state as torch keeps it. Making one imports what it needs, and nothing else does."""

UNIVERSAL, FAST = "deepspeed_universal", "fastpersist"
ZERO = ("deepspeed", UNIVERSAL, FAST)
EVERY = ENGINES | {
    "deepspeed": _lazily("deepspeed:DeepSpeed"), UNIVERSAL: _lazily("universal:Universal"),
    FAST: _lazily("fastpersist:FastPersist"),
}  # fmt: skip
"""With those that keep the state in their own way, under ZeRO."""

NEEDS = {"megatron": "megatron.core", "deepspeed": "deepspeed", UNIVERSAL: "deepspeed", FAST: "deepspeed"}
DATASTATES = "the package datastates is not installed: it is on no registry, its sources are on GitHub at "
DATASTATES += "DataStates/datastates-llm; engine=lazy measures its idea"
TRIED = ("datastates", FAST)
"""Engines that tell only when they are tried whether they run on a device: see `probe`."""
DIRECT = "dcp_direct"
EIGHTHS = 8  # what the model's widths divide by: shards of one size


def usual(name: str) -> Sharding:
    """The sharding that an engine is measured at where none is asked for."""
    return "zero3" if name == FAST else "zero2" if name in ZERO else "fsdp"


def fits(name: str, sharding: str) -> None:
    """ValueError where an engine does not save a state of that sharding."""
    if name == FAST and sharding != "zero3":
        raise ValueError(
            f"engine={name} with sharding={sharding}: it takes zero3; at other stages DeepSpeed (0.19.8) gives its "
            "files names that its own loader does not look for"
        )
    if (name in ZERO) != sharding.startswith("zero"):
        raise ValueError(
            f"engine={name} with sharding={sharding}: {' and '.join(ZERO)} save zero2 and zero3, the others fsdp, tp "
            "and ddp"
        )


def refuses(name: str, ranks: int, device: str, folder: Path | None = None) -> str | None:
    """Why an engine cannot run with that many ranks on that kind of device ('cpu', 'cuda'), or write to that folder;
    None where it can, as far as it shows without trying."""
    del device  # each of them runs on both, or tells when it is tried
    if name == "datastates" and not _there(name):
        return DATASTATES
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
