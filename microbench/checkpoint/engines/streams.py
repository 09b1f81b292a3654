"""DCP's writer with a watch on it: where the time of a save goes, and a checksum of every file as it is written."""

from __future__ import annotations

import io
import os
import time
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint.filesystem import DEFAULT_SUFFIX, FileSystem, FileSystemWriter
from torch.distributed.checkpoint.planner import WriteItemType

from microbench.checkpoint.engines.direct import Direct

if TYPE_CHECKING:
    from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
    from torch.distributed.checkpoint.storage import WriteResult
    from torch.futures import Future
    from typing_extensions import Buffer

    from microbench.checkpoint.engines.direct import Blocks

FRONT = 1 << 18  # B that are gathered of small writes: within a core's cache
PHASES = ("planning", "serialising", "writing", "fsync", "finishing")
"""planning: the plan made and agreed on over the ranks. serialising: tensors found and framed. writing: bytes
handed to the system. finishing: results gathered, metadata written, and ranks waited for."""


@dataclass
class Watch:
    """What the streams of one writer did. sums: size in B and CRC-32 of each file, by name."""

    checked: bool = False
    writing: float = 0.0
    syncing: float = 0.0
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)


class Stream:
    """A file that is written from front to back, and counts as it goes."""

    def __init__(self, raw: io.IOBase | Direct, watch: Watch) -> None:
        self._raw, self._watch = raw, watch
        self.size, self.sum = 0, 0
        self._syncs = 0.0

    def write(self, data: Buffer) -> int:
        begin = time.perf_counter()
        with memoryview(data) as view:
            written: int = self._raw.write(data)
            self.size += view.nbytes
            if self._watch.checked:
                self.sum = zlib.crc32(view, self.sum)
        self._watch.writing += time.perf_counter() - begin
        return written

    def fileno(self) -> int:
        """Asked for to fsync, and for nothing else."""
        begin = time.perf_counter()
        self._raw.flush()
        descriptor = self._raw.fileno()
        self._syncs = time.perf_counter()
        self._watch.writing += self._syncs - begin
        return descriptor

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._raw.flush()

    def close(self) -> None:
        if self._syncs:
            self._watch.syncing += time.perf_counter() - self._syncs
            self._syncs = 0.0
        self._raw.close()


class Raw(io.RawIOBase):
    """A stream as the interpreter's own buffer wants it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def write(self, data: Buffer) -> int:
        return self._stream.write(data)

    def fileno(self) -> int:
        return self._stream.fileno()


class Front(io.BufferedWriter):
    """Gathers small writes: torch.save makes forty of each tensor, nearly all of a few bytes. It hands on what it holds
    where a file ends, not where torch asks for it after each tensor."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(Raw(stream), FRONT)

    def flush(self) -> None:
        return

    def fileno(self) -> int:
        super().flush()
        return super().fileno()


class Files(FileSystem):
    """DCP's access to files, watched where they are written."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[Any, None, None]:
        with super().create_stream(path, mode) as raw:
            if "w" not in mode:
                yield raw
                return
            stream = Stream(raw, self._watch)
            yield stream
            self._watch.sums[Path(path).name] = (stream.size, stream.sum)


class DirectFiles(Files):
    """Those of tensors past the page cache; metadata is small, and goes through it. expected: B of the next file."""

    def __init__(self, watch: Watch, blocks: Blocks) -> None:
        super().__init__(watch)
        self._blocks, self.expected = blocks, 0

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[Any, None, None]:
        if "w" not in mode or Path(path).suffix != DEFAULT_SUFFIX:
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        raw = Direct(path, self._blocks, self.expected)
        try:
            stream = Stream(raw, self._watch)
            yield Front(stream)
            self._watch.sums[Path(path).name] = (stream.size, stream.sum)
        finally:
            raw.close()


class Writer(FileSystemWriter):
    """A writer of one checkpoint. Phases are of this rank. blocks: for writes past the page cache."""

    def __init__(self, folder: Path, checked: bool = False, blocks: Blocks | None = None) -> None:
        super().__init__(folder, sync_files=True, overwrite=False)
        self.watch = Watch(checked)
        self.fs = Files(self.watch) if blocks is None else DirectFiles(self.watch, blocks)
        self._writes, self._wrote = 0.0, 0.0

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        self._writes = time.perf_counter()
        if isinstance(self.fs, DirectFiles):
            self.fs.expected = _expected(plan)
        result = super().write_data(plan, planner)
        self._wrote = time.perf_counter()
        return result

    def phases(self, begin: float, end: float) -> dict[str, float]:
        """s of each phase of a save from `begin` to `end` on the performance counter."""
        watch, all_writing = self.watch, self._wrote - self._writes
        rest = all_writing - watch.writing - watch.syncing
        return dict(
            zip(PHASES, (self._writes - begin, rest, watch.writing, watch.syncing, end - self._wrote), strict=True)
        )


def _expected(plan: SavePlan) -> int:
    """B of the tensors that a rank writes: less than its file by their frames."""
    held = [item.tensor_data for item in plan.items if item.type != WriteItemType.BYTE_IO]
    return sum(data.chunk.sizes.numel() * data.properties.dtype.itemsize for data in held if data is not None)
