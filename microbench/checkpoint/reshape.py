"""Checkpoints that are loaded by another number of ranks, or another sharding, than saved them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from harness.child import Place
from harness.errors import CannotRun, Skip, WrongAnswer
from harness.records import Better, Evidence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit
from microbench.checkpoint.engines import EVERY, Foreign, fits, refuses
from microbench.checkpoint.sharding import Sharding
from microbench.checkpoint.state import Shape
from microbench.checkpoint.zero_state import make
from microbench.storage.room import opened, require

if TYPE_CHECKING:
    from harness.context import Context

STEP = 3  # whose content is saved
LOADS = 5
HELD = 4  # times the state on the disk, at most: a conversion holds it in three forms, with weights beside
START, PACE = 120.0, 20e6  # s for imports and the first collective; B/s that a load gets through at least
COLD = "files were out of the page cache before every load"

T = TypeVar("T", bound=Struct)
Ranks = Annotated[int, msgspec.Meta(ge=1, le=64)]


class ReshapeParams(Struct, frozen=True):
    """saved, loaded: ranks that saved and that load; sharding_from, sharding_to: fully sharded (fsdp), tensor
    parallel (tp) or whole on each rank (ddp). size: B of state over all ranks."""

    engine: str = "dcp"
    saved: Ranks = 2
    loaded: Ranks = 1
    sharding_from: Sharding = "fsdp"
    sharding_to: Sharding = "fsdp"
    size: Bytes = 64 * 2**20

    def __post_init__(self) -> None:
        if self.engine not in EVERY:
            raise ValueError(f"engine '{self.engine}' is not known; accepted: {', '.join(EVERY)}")
        for sharding in (self.sharding_from, self.sharding_to):
            fits(self.engine, sharding)


class Asked(Struct, frozen=True):
    """folder: of the checkpoint."""

    engine: str
    shape: Shape
    folder: str


class Saved(Struct, frozen=True):
    """size: B of the state, each tensor once."""

    size: int


class Loaded(Struct, frozen=True):
    """seconds: of each load on this rank. cached: largest share of a file that memory held before one. wrong: the
    first tensor that differs from what was saved; foreign: why the engine does not reshape this."""

    seconds: tuple[float, ...] = ()
    cached: float = 0.0
    wrong: str = ""
    foreign: str = ""


@benchmark("checkpoint.reshape", version=1, params=ReshapeParams, scope="host", rate="bandwidth", seconds=15)
def reshape(ctx: Context, params: ReshapeParams) -> Sequence[Measurement]:
    """Load at another sharding than saved: every tensor compared bit for bit, optimizer and random state too.

    Runs on the host's processors, whatever the cluster: more ranks than devices are then possible.
    """
    from microbench.checkpoint.engines import probe

    disk = require(ctx, HELD * params.size)
    for ranks in (params.saved, params.loaded):
        reason = refuses(params.engine, ranks, "cpu", ctx.scratch)
        if reason is not None:
            raise Skip(reason)
    probe.ensure(ctx, params.engine, "cpu")
    with opened(ctx, "reshape") as folder:
        size = max(one.size for one in _world(ctx, params, folder, save, Saved))
        loaded = _world(ctx, params, folder, load, Loaded)
    foreign = next((one.foreign for one in loaded if one.foreign), "")
    if foreign:
        raise Skip(f"{params.engine}: {foreign}")
    wrong = next((f"rank {rank}: {one.wrong}" for rank, one in enumerate(loaded) if one.wrong), "")
    if wrong:
        raise WrongAnswer(f"loaded without complaint, and not what was saved: {wrong}")
    samples = tuple(max(held) for held in zip(*(one.seconds for one in loaded), strict=True))
    cached = max(one.cached for one in loaded)
    flags = (COLD if cached == 0 else f"memory held up to {cached:.0%} of a file before a load", disk.words)
    rates = (Rate("bandwidth", float(size), Unit.BYTE_PER_SECOND),)
    return [
        Measurement(
            "restore", Unit.SECOND, Better.LOWER, samples, ctx.meter.origin, rates=rates,
            evidence=Evidence(stopped="all loads done", flags=flags),
        )
    ]  # fmt: skip


def _world(ctx: Context, params: ReshapeParams, folder: Path, entry: Callable[[Place], T], kind: type[T]) -> list[T]:
    """What a fresh world of processes answers, by rank."""
    from harness import children

    saving = kind is Saved
    sharding, ranks = (params.sharding_from, params.saved) if saving else (params.sharding_to, params.loaded)
    asked = Asked(params.engine, Shape(params.size, sharding, ctx.seed), str(folder / "checkpoint"))
    work = children.Work(f"{entry.__module__}:{entry.__name__}", asked, ranks)
    limit = START + LOADS * params.size / PACE
    ended = children.run(work, folder / entry.__name__, limit, ctx.say, f"{entry.__name__} by {ranks} ranks")
    broken = next((one for one in ended if not one.ok), None)
    if broken is not None:
        raise CannotRun(f"{entry.__name__} with {params.engine}: {broken.reason}")
    return [msgspec.json.decode(one.result, type=kind) for one in ended]


def save(place: Place) -> Saved:
    """Every rank of the first world."""
    asked = place.read(Asked)
    state, engine = make(asked.shape, asked.engine), EVERY[asked.engine]()
    state.fill(STEP)
    engine.save(state, Path(asked.folder)).wait()
    engine.close()
    return Saved(state.bytes)


def load(place: Place) -> Loaded:
    """Every rank of the second: in place, timed from a common start, files read from the disk each time."""
    import torch

    from microbench.storage.residency import evict

    asked = place.read(Asked)
    folder, state, engine = Path(asked.folder), make(asked.shape, asked.engine), EVERY[asked.engine]()
    seconds, cached = list[float](), 0.0
    for _ in range(LOADS):
        state.fill(0)
        torch.distributed.barrier()
        if place.rank == 0:
            cached = max([cached, *(evict(path) for path in folder.rglob("*") if path.is_file())])
        torch.distributed.barrier()
        begin = time.perf_counter()
        try:
            engine.load(state, folder)
        except Foreign as error:
            return Loaded(foreign=str(error))
        seconds.append(time.perf_counter() - begin)
        wrong = state.differences(STEP)
        if wrong:
            others = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
            return Loaded(tuple(seconds), cached, f"{wrong[0]}{others}")
    engine.close()
    return Loaded(tuple(seconds), cached)
