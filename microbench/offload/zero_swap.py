"""DeepSpeed's asynchronous I/O handle with a counter on it: what is moved, when, and how long a step stands still.

The swappers ask the operator's builder for a handle and give it a tensor and a file. Here the builder hands out a
handle that notes each request and passes it on. The time counted is that of the calls: submitting, and waiting
for the end. What the disk does while the step computes costs nothing, and is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

from microbench.offload.zero_asked import KINDS, Moved

if TYPE_CHECKING:
    import torch

Request = tuple[str, int]  # kind, B
Group = tuple[str, list[Request]]  # the phase in which they were waited for, and requests


@dataclass
class Traffic:
    """What has gone through all handles since `begin`. groups: requests that were waited for together."""

    phase: str = ""
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)
    blocked: dict[tuple[str, str], float] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def begin(self) -> None:
        self.sizes.clear()
        self.blocked.clear()
        self.groups.clear()

    def add(self, kind: str, size: int, seconds: float) -> None:
        key = self.phase, kind
        self.sizes[key] = self.sizes.get(key, 0) + size
        self.blocked[key] = self.blocked.get(key, 0.0) + seconds

    def moved(self) -> tuple[Moved, ...]:
        return tuple(Moved(*key, size, self.blocked[key]) for key, size in sorted(self.sizes.items()))


class Handle(Protocol):
    """What the swappers use of DeepSpeed's handle to move tensors: 0 says that a request was taken."""

    def async_pread(self, buffer: torch.Tensor, path: str, offset: int, /) -> int: ...

    def async_pwrite(self, buffer: torch.Tensor, path: str, offset: int, /) -> int: ...

    def wait(self) -> int: ...


class Counted:
    """A handle that counts. What it does not know, it passes on."""

    def __init__(self, handle: Handle, traffic: Traffic) -> None:
        self._handle, self._traffic = handle, traffic
        self._pending: list[Request] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._handle, name)

    def async_pread(self, buffer: torch.Tensor, path: str, offset: int) -> int:
        return self._submit("read", self._handle.async_pread, buffer, path, offset)

    def async_pwrite(self, buffer: torch.Tensor, path: str, offset: int) -> int:
        return self._submit("write", self._handle.async_pwrite, buffer, path, offset)

    def wait(self) -> int:
        begin = time.perf_counter()
        done = self._handle.wait()
        seconds, total = time.perf_counter() - begin, sum(size for _, size in self._pending)
        for kind in KINDS:
            share = sum(size for each, size in self._pending if each == kind)
            if share:
                self._traffic.add(kind, 0, seconds * share / total)
        if self._pending:
            self._traffic.groups.append((self._traffic.phase, self._pending))
        self._pending = []
        return done

    def _submit(
        self, kind: str, call: Callable[[torch.Tensor, str, int], int], buffer: torch.Tensor, path: str, offset: int
    ) -> int:
        begin = time.perf_counter()
        done = call(buffer, path, offset)
        size = buffer.numel() * buffer.element_size()
        self._traffic.add(kind, size, time.perf_counter() - begin)
        self._pending.append((kind, size))
        return done


def count(traffic: Traffic) -> None:
    """From here on, every handle that DeepSpeed makes in this process counts into `traffic`."""
    from deepspeed.ops.op_builder import AsyncIOBuilder

    load = AsyncIOBuilder.load

    def counted(builder: AsyncIOBuilder, verbose: bool = False) -> SimpleNamespace:
        make = load(builder, verbose=verbose).aio_handle
        return SimpleNamespace(aio_handle=lambda *sizes, **named: Counted(make(*sizes, **named), traffic))

    AsyncIOBuilder.load = counted
