"""Four times of a checkpoint, never one: how long training stands still, until it is durable, until training goes on
from it, and how much slower steps are while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec

from harness.errors import Skip, WrongAnswer
from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import Bytes
from microbench.checkpoint import engines
from microbench.checkpoint.model import sizes
from microbench.checkpoint.sharding import Sharding
from microbench.checkpoint.state import Shape
from microbench.checkpoint.trial import Asked, Restored, Saved, different
from microbench.storage import room

if TYPE_CHECKING:
    from harness.context import Context

ROOM = 4  # times the state on the disk at once, at most: a checkpoint, its roof, and forms that an engine converts
LIMIT = 540.0  # s that a world of processes may take
T = TypeVar("T")


class SaveParams(Struct, frozen=True):
    """size: B of parameters and Adam's moments over all ranks, about. processes: ranks that train, on this host.
    sharding: the engine's usual one (`engines.usual`) where none is asked for. saves: in one run of training.
    restores: each in a fresh world of processes."""

    engine: str = "dcp"
    size: Bytes = 64 << 20
    processes: Annotated[int, msgspec.Meta(ge=1, le=1 << 10)] = 2
    sharding: Sharding | None = None
    saves: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    restores: Annotated[int, msgspec.Meta(ge=1, le=20)] = 2

    def __post_init__(self) -> None:
        if self.engine not in engines.EVERY:
            raise ValueError(f"engine={self.engine}: known are {', '.join(engines.EVERY)}")
        sizes(self.size)
        msgspec.structs.force_setattr(self, "sharding", self.placed)
        engines.fits(self.engine, self.placed)

    @property
    def placed(self) -> Sharding:
        return self.sharding or engines.usual(self.engine)


@benchmark("checkpoint.save", version=2, params=SaveParams, scope="host", rate="bandwidth", seconds=25)
def save(ctx: Context, params: SaveParams) -> Sequence[Measurement]:
    """Blocked, durable and restore time of a checkpoint in training, its drag on steps, and its roof."""
    from clusters.filesystem import direct_alignment
    from microbench.checkpoint.engines import probe
    from microbench.checkpoint.measured import measurements

    device: Literal["cpu", "cuda"] = "cuda" if ctx.device.type == "cuda" else "cpu"
    reason = engines.refuses(params.engine, params.processes, device, ctx.scratch)
    if reason is not None:
        raise Skip(reason)
    system = room.require(ctx, ROOM * params.size)
    probe.ensure(ctx, params.engine, device)
    with room.opened(ctx, f"checkpoint-{params.engine}") as folder:
        place = folder / "checkpoints"
        place.mkdir()
        shape = Shape(params.size, params.placed, ctx.seed, device=device)
        asked = Asked(params.engine, shape, str(place), params.saves, alignment=direct_alignment(folder) or 0)
        saved = _world(ctx, params, "save", asked, folder, Saved)
        restored, cold = list[Restored](), list[float]()
        for index in range(params.restores):
            cold.append(forget(place))
            held = msgspec.structs.replace(asked, folder=str(next(path for path in place.iterdir() if path.is_dir())))
            found = _world(ctx, params, "restore", held, folder, Restored, index)
            _same(saved, found)
            restored.append(found[0])
    return measurements(ctx.meter.origin, saved, restored, median(cold), system.words)


def forget(folder: Path) -> float:
    """Evict all files in a folder from memory; the largest share that is held of one all the same."""
    from microbench.storage.residency import evict

    return max(evict(path) for path in folder.rglob("*") if path.is_file())


def _world(
    ctx: Context, params: SaveParams, what: str, asked: Asked, folder: Path, kind: type[T], index: int = 0
) -> list[T]:  # fmt: skip
    from harness import children

    work = children.Work(f"microbench.checkpoint.trial:{what}", asked, params.processes)
    ended = children.run(work, folder / f"{what}-{index}", LIMIT, ctx.say, f"checkpoint.{what} {params.engine}")
    failed = next((one for one in ended if not one.ok), None)
    if failed is not None and "WrongAnswer" in failed.reason:
        raise WrongAnswer(failed.reason)
    if failed is not None:
        raise RuntimeError(f"{what}: {failed.reason}")
    return [msgspec.json.decode(one.result, type=kind) for one in ended]


def _same(saved: Sequence[Saved], restored: Sequence[Restored]) -> None:
    for rank, (one, other) in enumerate(zip(saved, restored, strict=True)):
        wrong = different(one.digests, other.digests)
        if wrong:
            raise WrongAnswer(f"rank {rank} restores other than was saved: {wrong}")
