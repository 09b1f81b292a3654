"""torch.distributed.checkpoint, synchronous: every rank writes its shards, rank 0 the metadata last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clusters.filesystem import direct_alignment
from microbench.checkpoint.engines import Damaged, Foreign
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    import torch

    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.engines.direct import Blocks
    from microbench.checkpoint.state import TrainingState

METADATA = ".metadata"


class Dcp:
    """One file a rank, fsynced by the writer. phases: where the time of the last save went, s."""

    name = "dcp"
    background = False
    notes: tuple[str, ...] = ("the writer fsyncs its files, the benchmark the folder",)

    def __init__(self) -> None:
        import torch.distributed.checkpoint  # noqa: F401 (here, so that no save pays for it)

        self.phases: dict[str, float] = {}

    def save(self, state: TrainingState, folder: Path) -> Pending:
        from torch.distributed.checkpoint.state_dict_saver import save

        from microbench.checkpoint.engines.streams import Writer

        begin, writer = time.perf_counter(), Writer(folder)
        save(dict(state.tensors()), storage_writer=writer)
        self.phases = writer.phases(begin, time.perf_counter())
        return Then(lambda: sync_all([], folder))

    def load(self, state: TrainingState, folder: Path) -> None:
        load(state, folder)

    def complete(self, folder: Path) -> bool:
        return (folder / METADATA).is_file()

    def close(self) -> None:
        return


class DcpDirect(Dcp):
    """The same files by what DCP lets one set: its plan is kept from one save to the next, its files are written past
    the page cache, and torch.save computes no checksums, which torch.load does not look at."""

    name = "dcp_direct"
    notes = (
        *Dcp.notes, "plans cached, direct I/O by a thread while the next block is filled, no CRC-32 of the records",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._blocks: Blocks | None = None

    def save(self, state: TrainingState, folder: Path) -> Pending:
        from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
        from torch.distributed.checkpoint.state_dict_saver import save

        from microbench.checkpoint.engines.streams import Writer

        begin = time.perf_counter()
        writer = Writer(folder, blocks=self._made(folder.parent))
        with _without_sums():
            save(
                dict(state.tensors()), storage_writer=writer,
                planner=DefaultSavePlanner(enable_plan_caching=True),
            )  # fmt: skip
        self.phases = writer.phases(begin, time.perf_counter())
        return Then(lambda: sync_all([], folder))

    def close(self) -> None:
        if self._blocks is not None:
            self._blocks.close()

    def _made(self, folder: Path) -> Blocks:
        from microbench.checkpoint.engines.direct import Blocks

        if self._blocks is None:
            alignment = direct_alignment(folder)
            if alignment is None:
                raise OSError(f"{folder}: its file system has no direct I/O: engine=dcp writes through the cache")
            self._blocks = Blocks(alignment)
        return self._blocks


@contextmanager
def _without_sums() -> Iterator[None]:
    """torch.save leaves the checksums of its records out."""
    import torch

    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def load(state: TrainingState, folder: Path) -> None:
    """Read what any of DCP's writers left, at whatever sharding the state has now."""
    from torch.distributed.checkpoint import state_dict_loader
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    reader, tensors = FileSystemReader(folder), state.tensors()
    if not (folder / METADATA).is_file():
        raise Damaged(f"{folder}: no {METADATA}: the save did not end")
    try:
        saved = reader.read_metadata()
    except Exception as error:
        raise Damaged(f"{METADATA}: {type(error).__name__}: {error}") from error
    _same_model(tensors, saved.state_dict_metadata)
    try:
        state_dict_loader.load(dict(tensors), storage_reader=reader)
    except Exception as error:
        raise Damaged(_first(error)) from error
    state.adopt(tensors)


def _same_model(tensors: dict[str, torch.Tensor], saved: Mapping[str, object]) -> None:
    if tensors.keys() != saved.keys():
        odd = sorted(tensors.keys() ^ saved.keys())[0]
        raise Foreign(f"of another model: {len(saved)} tensors, {len(tensors)} here; '{odd}' is in one of them only")
    for name, tensor in tensors.items():
        shape = getattr(saved[name], "size", None)
        if shape is None or tuple(shape) != tuple(tensor.shape):
            raise Foreign(f"of another model: '{name}' is {shape} there, {tuple(tensor.shape)} here")


def _first(error: BaseException) -> str:
    """What DCP's collected errors of all ranks come down to."""
    failures = getattr(error, "failures", None)
    inner = next(iter(failures.values()))[0] if failures else error
    return f"{type(inner).__name__}: {str(inner).splitlines()[0][:200] if str(inner) else 'no word of why'}"
