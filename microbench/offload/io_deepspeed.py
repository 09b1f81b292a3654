"""DeepSpeed's own handles: libaio, as ZeRO-Infinity moves states to a disk, and GPUDirect Storage.

Both split a region into one part for each thread, and keep `depth` blocks of each part in flight. They open the file
for direct I/O, and do not make it durable: fsync is ours.

The memory that the aio handle locks lies on ordinary pages. How many pieces the kernel makes of a block then depends on
how these pages happen to lie: the same read reached 0.9 to 2.6 GB/s in processes started one after the other, where
large pages gave 2.5 in each (4 KiB pages, ext4, 1 MiB blocks, depth 32).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from harness.errors import Skip
from harness.files import sync
from microbench.offload.io_engines import Shape
from microbench.offload.io_memory import Bytes1
from microbench.storage import operators

if TYPE_CHECKING:
    import torch

    from harness.context import Context


class Handle(Protocol):
    """What is used of both."""

    def new_cpu_locked_tensor(self, size: int, like: torch.Tensor) -> torch.Tensor: ...

    def free_cpu_locked_tensor(self, tensor: torch.Tensor) -> bool: ...

    def pin_device_tensor(self, tensor: torch.Tensor) -> bool: ...

    def unpin_device_tensor(self, tensor: torch.Tensor) -> bool: ...

    def sync_pwrite(self, tensor: torch.Tensor, path: str, offset: int) -> int: ...

    def sync_pread(self, tensor: torch.Tensor, path: str, offset: int) -> int: ...


class Aio:
    """The aio handle. Pinned: in memory that the handle itself locked. Else DeepSpeed copies the whole region through
    a buffer that it makes for each call."""

    def __init__(self, ctx: Context, shape: Shape) -> None:
        import torch

        operators.ensure(ctx, "async_io")
        self._handle = _handle(operators.load("async_io"), "aio_handle", shape)
        self._locked: torch.Tensor | None = None
        if shape.pinned:
            self._locked = self._handle.new_cpu_locked_tensor(shape.size, torch.empty(0, dtype=torch.uint8))
        self._tensor = torch.empty(shape.size, dtype=torch.uint8) if self._locked is None else self._locked
        bounce = (
            " in memory that it locked, on ordinary pages"
            if shape.pinned
            else ", which copies the region through a buffer of its own for each call"
        )
        self.flags: tuple[str, ...] = (f"DeepSpeed's aio handle (libaio){bounce}",)

    def memory(self) -> Bytes1:
        array: Bytes1 = self._tensor.numpy()
        return array

    def changed(self, array: Bytes1) -> None:
        return

    def write(self, path: Path, offset: int) -> None:
        _done(self._handle.sync_pwrite(self._tensor, str(path), offset), "write")
        sync(path)

    def read(self, path: Path, offset: int) -> None:
        _done(self._handle.sync_pread(self._tensor, str(path), offset), "read")

    def close(self) -> None:
        if self._locked is not None:
            self._handle.free_cpu_locked_tensor(self._locked)
            self._locked = None
        del self._tensor


class Gds:
    """The GPUDirect Storage handle: between the disk and the device's memory, past the host's."""

    def __init__(self, ctx: Context, shape: Shape) -> None:
        import torch

        if ctx.device.type != "cuda" or torch.version.hip is not None:
            raise Skip("GPUDirect Storage moves data between a disk and an NVIDIA GPU's memory, and there is none here")
        operators.ensure(ctx, "gds")
        self._handle = _handle(operators.load("gds"), "gds_handle", shape)
        self._tensor = torch.empty(shape.size, dtype=torch.uint8, device=ctx.device)
        self._pinned = shape.pinned
        if shape.pinned:
            self._handle.pin_device_tensor(self._tensor)
        self.flags: tuple[str, ...] = ("DeepSpeed's GPUDirect Storage handle: the region is the device's memory",)
        self._synchronise = ctx.accelerator.synchronise

    def memory(self) -> Bytes1:
        """A copy in the host's memory."""
        array: Bytes1 = self._tensor.cpu().numpy()
        return array

    def write(self, path: Path, offset: int) -> None:
        _done(self._handle.sync_pwrite(self._tensor, str(path), offset), "write")
        sync(path)

    def read(self, path: Path, offset: int) -> None:
        _done(self._handle.sync_pread(self._tensor, str(path), offset), "read")
        self._synchronise()

    def changed(self, array: Bytes1) -> None:
        import torch

        self._tensor.copy_(torch.from_numpy(array))

    def close(self) -> None:
        if self._pinned:
            self._handle.unpin_device_tensor(self._tensor)
        del self._tensor


def _handle(module: ModuleType, kind: str, shape: Shape) -> Handle:
    handle: Handle = getattr(module, kind)(
        block_size=shape.block, queue_depth=shape.depth, single_submit=False, overlap_events=True,
        intra_op_parallelism=shape.threads,
    )  # fmt: skip
    return handle


def _done(operations: int, what: str) -> None:
    """The handle counts the operations that it completed, or says less than 1."""
    if operations < 1:
        raise OSError(f"DeepSpeed's handle could not {what} the region; its own words stand in the log")
