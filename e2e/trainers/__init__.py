"""Training with three libraries, behind one small protocol: each as its own users have it.

A trainer is built on every rank of a world of fresh processes, after torch.distributed has begun. All of them draw
their weights by `e2e.network.draw` and take the tokens of `e2e.data`, so that their losses can be held against each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from harness.platform import resolve

if TYPE_CHECKING:
    import torch

    from e2e.asked import Asked
    from e2e.gradient_noise import Norms

Phase = Callable[[str], AbstractContextManager[object]]
"""Marks a part of a step: "forward", "backward", "optimizer". A trainer whose library does two of them in one call
marks that call by the first's name and says so in `notes`."""

BUILDERS = {
    "torch": "e2e.trainers.with_torch:build",
    "deepspeed": "e2e.trainers.with_deepspeed:build",
    "megatron": "e2e.trainers.with_megatron:build",
}


class Refused(Exception):
    """The library, or the device, cannot do what is asked: in its own words where it has any."""


class Trainer(Protocol):
    """One job on this rank. data_rank of data_ranks: which sequences are this rank's. modules: what holds this rank's
    parameters. notes: what a reader of its record must know."""

    data_rank: int
    data_ranks: int
    notes: tuple[str, ...]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What this rank holds, sharded or whole."""
        ...

    def step(self, tokens: torch.Tensor, phase: Phase) -> torch.Tensor:
        """One optimizer step on this rank's sequences, (batch / data_ranks, sequence + 1) int64 on its device. The
        mean loss over them, a scalar still on the device; 0 on a rank that does not see the output. Waits for
        nothing that the library itself does not wait for."""
        ...

    def watch(self) -> Norms | str:
        """From now on, squared norms of two gradients of each step; or in words why this job has no two. Called after
        the timed steps, which it would slow a little."""
        ...

    def close(self) -> None: ...


def build(asked: Asked, device: torch.device) -> Trainer:
    """The trainer; Refused where it cannot be had."""
    trainer: Trainer = resolve(BUILDERS[asked.trainer])(asked, device)
    return trainer


@contextmanager
def unmarked(_: str) -> Iterator[None]:
    """A phase that nobody looks at."""
    yield
