"""io_uring: many requests handed to the kernel at once, over a ring that both sides see.

The package `liburing` wraps the C library of that name (Axboe, Efficient IO with io_uring, 2019). It holds the
interpreter while it waits, so a rank drives one ring.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from harness.errors import Skip
from microbench.offload.io_engines import Shape, opened
from microbench.offload.io_memory import Bytes1, Region


class Uring:
    """One ring of `depth` entries. Pinned: the region is registered, so that the kernel maps it once and not for every
    block. Else blocks go through as many registered buffers as there are entries."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._api = shape, _library()
        self._region = Region(shape.size, locked=False)
        self._slots = self._region if shape.pinned else Region(shape.block * shape.depth, locked=False)
        self._ring, self._entry = self._api.Ring(), self._api.Cqe()
        self._start()
        view, block = self._slots.view, shape.block
        self._pieces = [view[at : at + block] for at in range(0, len(view), block)]
        self._vectors = [self._api.Iovec([piece]) for piece in self._pieces]
        self._register()
        self.flags: tuple[str, ...] = (
            "io_uring, registered buffers",
            "waiting for the ring holds the interpreter",
        )

    def memory(self) -> Bytes1:
        return self._region.array

    def changed(self, array: Bytes1) -> None:
        return

    def write(self, path: Path, offset: int) -> None:
        with opened(path, True, self._shape.direct) as file:
            self._move(self._api.io_uring_prep_writev_fixed, file, offset, writes=True)

    def read(self, path: Path, offset: int) -> None:
        with opened(path, False, self._shape.direct) as file:
            self._move(self._api.io_uring_prep_readv_fixed, file, offset, writes=False)

    def close(self) -> None:
        self._api.io_uring_queue_exit(self._ring)

    def _start(self) -> None:
        try:
            self._api.io_uring_queue_init(self._shape.depth, self._ring, 0)
        except OSError as error:
            raise Skip(
                f"the kernel refuses io_uring ({os.strerror(error.errno or 0)}): allow io_uring_setup, io_uring_enter "
                "and io_uring_register in the container's seccomp profile, and set kernel.io_uring_disabled=0"
            ) from error

    def _register(self) -> None:
        try:
            self._api.io_uring_register_buffers(self._ring, self._api.Iovec([self._slots.view]))
        except OSError as error:
            self.close()
            raise Skip(
                f"io_uring cannot register {len(self._slots.view)} B of memory ({os.strerror(error.errno or 0)}): "
                "raise `ulimit -l`"
            ) from error

    def _move(self, prepare: Callable[..., object], file: int, offset: int, writes: bool) -> None:
        """Keep `depth` blocks in flight until all are done."""
        api, ring, shape = self._api, self._ring, self._shape
        free = list(range(shape.depth))
        slot_of, block, pinned, following, done = dict[int, int](), shape.block, shape.pinned, 0, 0
        while done < shape.blocks:
            while free and following < shape.blocks:
                slot_of[following] = free.pop()
                slot = following if pinned else slot_of[following]
                if writes and not pinned:
                    self._pieces[slot][:] = self._block(following)
                sqe = api.io_uring_get_sqe(ring)
                prepare(sqe, file, self._vectors[slot], 0, offset=offset + following * block)
                sqe.user_data = following
                following += 1
            api.io_uring_submit_and_wait(ring, 1)
            for _ in range(api.io_uring_cq_ready(ring)):
                index = self._ended()
                if not writes and not pinned:
                    self._block(index)[:] = self._pieces[slot_of[index]]
                free.append(slot_of.pop(index))
                done += 1

    def _ended(self) -> int:
        """The block that has come to its end. One entry at a time: the package does not see where the ring begins
        again."""
        self._api.io_uring_peek_cqe(self._ring, self._entry)
        count, index = int(self._entry[0].res), int(self._entry[0].user_data)
        self._api.io_uring_cq_advance(self._ring, 1)
        if count < 0:
            raise OSError(-count, f"block {index}: {os.strerror(-count)}")
        if count != self._shape.block:
            raise OSError(f"block {index}: {count} of {self._shape.block} B: the file is too short, or the disk full")
        return index

    def _block(self, index: int) -> memoryview:
        return self._region.view[index * self._shape.block : (index + 1) * self._shape.block]


def _library() -> ModuleType:
    if importlib.util.find_spec("liburing") is None:
        raise Skip("the package liburing is not installed: pip install liburing")
    return importlib.import_module("liburing")
