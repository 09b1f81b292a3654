"""The swaps of a step by themselves: the same sizes, through the same kind of handle, waited for as the step did.

That gives the bandwidth of the path that offload really takes. Each file is written before it is read, past the
page cache (the handle opens files with direct I/O), so a read comes from the disk.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from microbench.offload.zero_asked import KINDS, Replay
from microbench.offload.zero_config import BLOCK, DEPTH
from microbench.offload.zero_swap import Group, Request

PAGE = 4096  # B: direct I/O is slower from memory that does not begin at a page's start


class Replayer:
    """groups: requests of a step that were waited for together."""

    def __init__(self, groups: list[Group], folder: Path) -> None:
        import torch
        from deepspeed.ops.op_builder import AsyncIOBuilder

        self._handle: Any = AsyncIOBuilder().load().aio_handle(
            block_size=BLOCK, queue_depth=DEPTH, single_submit=False, overlap_events=True, intra_op_parallelism=1
        )  # fmt: skip
        self._groups, self._folder = groups, folder
        folder.mkdir(parents=True)
        room = max(sum(_paged(size) for _, size in group) for _, group in groups)
        self._memory = self._handle.new_cpu_locked_tensor(room, torch.empty(0, dtype=torch.uint8))
        self._memory.random_(0, 256)
        for at, (_, group) in enumerate(groups):
            self._run(at, [("write", size) for _, size in group])

    def run(self) -> Replay:
        """Once more, in the order of the step."""
        spent, forward = dict.fromkeys(KINDS, 0.0), 0.0
        for at, (phase, group) in enumerate(self._groups):
            total = sum(size for _, size in group)
            begin = time.perf_counter()
            self._run(at, group)
            seconds = time.perf_counter() - begin
            forward += seconds if phase == "forward" else 0.0
            for kind in KINDS:
                spent[kind] += seconds * sum(size for each, size in group if each == kind) / total
        return Replay(spent["read"], spent["write"], forward)

    def _run(self, at: int, group: list[Request]) -> None:
        offset = 0
        for index, (kind, size) in enumerate(group):
            part = self._memory.narrow(0, offset, size)
            call = self._handle.async_pread if kind == "read" else self._handle.async_pwrite
            if call(part, str(self._folder / f"{at}-{index}"), 0):
                raise OSError(f"a {kind} of {size} B was not taken")
            offset += _paged(size)
        if self._handle.wait() != len(group):
            raise OSError(f"{len(group)} requests of a group did not all end")


def _paged(size: int) -> int:
    """Up to whole pages."""
    return -(-size // PAGE) * PAGE
