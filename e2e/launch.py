"""A cell's job: a world of fresh processes over the launch's ranks, and what its first rank tells."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TypeVar

import msgspec

from harness import together
from harness.errors import Skip, WrongAnswer

if TYPE_CHECKING:
    from harness.context import Context
    from harness.records import Struct

T = TypeVar("T", bound="Struct")
SKIP, WRONG = "skip ", "wrong "


def launched(ctx: Context, entry: str, spec: Struct, kind: type[T], limit: float, what: str, world: int) -> T | None:
    """Run `entry` on the devices of the launch's first `world` ranks; what rank 0's process returned, on rank 0, whose
    record counts. RuntimeError, on every rank, with the reason of the first that failed; Skip where all is simulated.
    """
    if ctx.scratch is None:
        raise Skip("a simulated cluster trains nothing: a job runs for real, or not at all")
    ctx.accelerator.release()
    folder = ctx.scratch / f"job-{ctx.ranks.rank}"
    try:
        ended, failure = together.run(ctx.ranks, entry, spec, folder, limit, _threads(), ctx.say, what, world)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failure:
        raise RuntimeError(failure)
    return msgspec.json.decode(ended.result, type=kind) if ended is not None and ctx.ranks.rank == 0 else None


def _threads() -> int:
    """As this rank has: a process of its own takes its place."""
    import torch

    return torch.get_num_threads()


def settle(ctx: Context, refused: str = "", wrong: str = "") -> None:
    """Rank 0's verdict on every rank: Skip where what was asked is refused, WrongAnswer where it came out wrong."""
    said = ctx.ranks.words(SKIP + refused if refused else WRONG + wrong if wrong else "")[0]
    if said.startswith(SKIP):
        raise Skip(said.removeprefix(SKIP))
    if said:
        raise WrongAnswer(said.removeprefix(WRONG))
