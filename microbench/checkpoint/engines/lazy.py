"""Lazy asynchronous snapshots, as DataStates-LLM describes them (Maurya et al., HPDC 2024, arXiv 2406.10707).

Parameters and moments change in the optimizer's step only. A save therefore returns at once: a thread copies
them while the next forward and backward run, and the optimizer waits for what is not copied by then. A second
thread writes what was copied, with checksums, and the manifest last. Copying and writing are DCP's; the
manifest, the checksums and the point where training waits are this engine's.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.files import sync
from microbench.checkpoint.engines import Damaged
from microbench.checkpoint.engines.dcp import METADATA, load
from microbench.checkpoint.engines.dcp_async import stager

if TYPE_CHECKING:
    from concurrent.futures import Future

    from torch.distributed.checkpoint.metadata import Metadata
    from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
    from torch.distributed.checkpoint.storage import WriteResult
    from torch.futures import Future as TorchFuture

    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.engines.streams import Writer
    from microbench.checkpoint.state import TrainingState

MANIFEST = "manifest.json"
VERSION = 1
CHUNK = 4 << 20  # B read at a time where a checksum is verified


class Flight:
    """One save under way. stalled: s that the optimizer waited for the copy."""

    def __init__(self, staged: Future[None], written: Future[None]) -> None:
        self._staged, self._written = staged, written
        self.stalled = 0.0

    def hold(self) -> None:
        """Called before the optimizer changes anything."""
        begin = time.perf_counter()
        self._staged.result()
        self.stalled += time.perf_counter() - begin

    def wait(self) -> None:
        self._staged.result()
        self._written.result()


class Lazy:
    """Its checkpoint is DCP's and a manifest: {version, step, files: {name: [B, CRC-32]}}."""

    name = "lazy"
    background = True
    notes = (
        "copied during the next forward and backward; what the optimizer waits for the copy counts as blocked",
        "checksums are part of durable and of restore",
    )

    def __init__(self) -> None:
        import torch.distributed.checkpoint  # noqa: F401 (here, so that no save pays for it)

        self.phases: dict[str, float] = {}
        self._stager: Any = None
        self._group: Any = None
        self._flight: Flight | None = None

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch
        from torch.distributed.checkpoint.state_dict_saver import async_save

        if self._flight is not None:
            self._flight.wait()
        if self._group is None:
            self._group, self._stager = torch.distributed.new_group(backend="gloo"), stager(state, at_once=False)
            state.optimizer.register_step_pre_hook(lambda *_: self._hold())
        answer: Any = async_save(
            dict(state.tensors()), storage_writer=_writer(folder, state.number), process_group=self._group,
            async_stager=self._stager,
        )  # fmt: skip
        self._flight = Flight(answer.staging_completion, answer.upload_completion)
        return self._flight

    def load(self, state: TrainingState, folder: Path) -> None:
        import torch

        world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        found: list[str] = [""] * world
        torch.distributed.all_gather_object(found, faults(folder, rank, world))
        wrong = next(filter(None, found), None)
        if wrong is not None:
            raise Damaged(wrong)
        load(state, folder)

    def complete(self, folder: Path) -> bool:
        return (folder / MANIFEST).is_file()

    def close(self) -> None:
        if self._flight is not None:
            self._flight.wait()
        if self._stager is not None:
            self._stager.close()

    def _hold(self) -> None:
        if self._flight is not None:
            self._flight.hold()


def _writer(folder: Path, step: int) -> Writer:
    """DCP's writer, whose last act is the manifest: results of all ranks carry the checksums to the first."""
    from microbench.checkpoint.engines import streams

    class Listed(streams.Writer):
        def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
            future = super().write_data(plan, planner)
            results: list[Any] = future.value()
            results.append(dict(self.watch.sums))  # DCP hands results on unread
            return future

        def finish(self, metadata: Metadata, results: list[list[Any]]) -> None:
            files = {name: sums for held in results for name, sums in held[-1].items()}
            super().finish(metadata, [held[:-1] for held in results])
            files[METADATA] = self.watch.sums[f"{METADATA}.tmp"]
            list_files(folder, step, files)

    return Listed(folder, checked=True)


def list_files(folder: Path, step: int, files: dict[str, tuple[int, int]]) -> None:
    """Write the manifest so that it is there whole or not at all, and only after all that it lists."""
    sync(folder)
    path, made = folder / MANIFEST, folder / f"{MANIFEST}.tmp"
    with open(made, "w", encoding="utf-8") as file:
        json.dump({"version": VERSION, "step": step, "files": files}, file)
        file.flush()
        os.fsync(file.fileno())
    made.rename(path)
    sync(folder)
    sync(folder.parent)


def faults(folder: Path, rank: int, world: int) -> str:
    """What is wrong with this rank's share of the files, or nothing."""
    try:
        held = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if held["version"] != VERSION:
            return f"{MANIFEST}: of version {held['version']}, and this engine reads {VERSION}"
        listed = sorted((str(name), int(size), int(crc)) for name, (size, crc) in held["files"].items())
    except FileNotFoundError:
        return f"{folder}: no {MANIFEST}: the save did not end"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST}: {type(error).__name__}: {error}"
    for name, size, crc in listed[rank::world]:
        path = folder / Path(name).name
        if not path.is_file():
            return f"{name}: missing"
        if path.stat().st_size != size:
            return f"{name}: {path.stat().st_size} B of {size}"
        if checksum(path) != crc:
            return f"{name}: its checksum is not that of the manifest"
    return ""


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value, buffer = 0, bytearray(CHUNK)
    with open(path, "rb", buffering=0) as file, memoryview(buffer) as view:
        while count := file.readinto(view):
            value = zlib.crc32(view[:count], value)
    return value
