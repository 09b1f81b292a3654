"""Megatron-core on a machine without a GPU: what it places on "cuda" by name goes to host memory.

For the one process of a job that trains with it, before megatron is imported, and for good: there is no way back, so
never in a worker. Nothing of the library's arithmetic, schedules or communication is replaced. What is redirected was
found by running megatron-core 0.16.1; on a machine with a GPU this module is not used, and refuses to be.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist

WORDS = (
    "no GPU here, and megatron-core asks for CUDA by name: tensors, streams and random states that it places on a GPU "
    "were redirected to host memory"
)
P = ParamSpec("P")
R = TypeVar("R")

FACTORIES = ("empty", "ones", "tensor", "zeros")
_done = False


def redirect() -> str:
    """Redirect this process, once; what a record has to say of it. RuntimeError where there is a GPU, or where
    megatron has been imported, which takes some of these names on import."""
    global _done
    if torch.cuda.is_available():
        raise RuntimeError("there is a GPU: megatron-core is used as it is, without redirected placement")
    if not _done:
        if "megatron.core" in sys.modules:
            raise RuntimeError("megatron.core has been imported before its placement was redirected: do that first")
        _place()
        _random()
        _streams()
        _counts()
        _done = True
    return WORDS


def _place() -> None:
    host = torch.device("cpu")
    cuda: Any = torch.cuda
    cuda.current_device = lambda: host  # where every parameter, buffer and message is put
    for name in FACTORIES:  # counters, masks and norms are made with device="cuda"
        setattr(torch, name, _hosted(getattr(torch, name)))
    held: Any = torch.Tensor
    held.cuda = lambda self, *_, **__: self  # the tied embedding is moved before its first exchange
    held.type = _named_as_on_gpu(held.type)  # both optimizers sort parameters by "torch.cuda.FloatTensor"


def _random() -> None:
    """Megatron keeps a random state for each kind of parallelism and swaps them around every dropout."""
    cuda: Any = torch.cuda
    cuda.get_rng_state = cuda.random.get_rng_state = lambda *_, **__: torch.get_rng_state()
    cuda.manual_seed = torch.manual_seed
    cuda._lazy_call = lambda call, **_: call()  # else each swap is queued for a CUDA that never starts: a leak
    cuda.default_generators = _Everywhere()


def _streams() -> None:
    """The dispatcher of experts copies counts on a stream of its own; on a host nothing runs beside anything."""
    cuda: Any = torch.cuda
    cuda.Stream, cuda.current_stream, cuda.stream = _Stream, lambda *_: _Stream(), _on_stream
    cuda.synchronize = lambda *_: None  # after messages between stages


def _counts() -> None:
    """How many tokens go to which rank is copied from a GPU as an array, which the exchange takes; what is on the host
    already is left a tensor, which it refuses."""
    held: Any = dist
    held.all_to_all_single = _counted(dist.all_to_all_single)


def _counted(exchange: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(exchange)
    def exchanged(*given: P.args, **named: P.kwargs) -> R:
        for key, counts in named.items():
            if isinstance(counts, torch.Tensor):
                named[key] = counts.tolist()
        return exchange(*given, **named)

    return exchanged


def _hosted(make: Callable[P, R]) -> Callable[P, R]:
    """A factory of torch's, for which device="cuda" is the host."""

    @functools.wraps(make)
    def made(*given: P.args, **named: P.kwargs) -> R:
        if "device" in named and str(named["device"]).startswith("cuda"):
            named["device"] = "cpu"
        return make(*given, **named)

    return made


def _named_as_on_gpu(kind: Callable[..., object]) -> Callable[..., object]:
    """Tensor.type, which without arguments gives the name that the tensor would have on a GPU."""

    @functools.wraps(kind)
    def named(self: torch.Tensor, *given: object, **other: object) -> object:
        found = kind(self, *given, **other)
        return found.replace("torch.", "torch.cuda.", 1) if isinstance(found, str) else found

    return named


class _Everywhere:
    """Generators by device: the host's own for each."""

    def __getitem__(self, _: object) -> torch.Generator:
        return torch.default_generator


class _Stream:
    """A stream, and an event on it: all that was asked for is done by the time that it is looked at. All are one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stream)

    def __hash__(self) -> int:
        return 0

    def wait_stream(self, _: _Stream) -> None: ...

    def record_event(self) -> _Stream:
        return self

    def synchronize(self) -> None: ...


@contextmanager
def _on_stream(_: _Stream) -> Iterator[None]:
    yield
