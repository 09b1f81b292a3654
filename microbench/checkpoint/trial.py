"""What the processes of a trial do: train, save while training, and load in a world of their own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.child import Place
from harness.errors import WrongAnswer
from harness.records import Struct
from microbench.checkpoint.state import Shape
from microbench.checkpoint.waiting import Waiting

if TYPE_CHECKING:
    from microbench.checkpoint.engines import Engine
    from microbench.checkpoint.roof import Roof
    from microbench.checkpoint.state import TrainingState

WARM = 3  # steps before the first that counts


class Asked(Struct, frozen=True):
    """folder: where checkpoints go. saves: how many. steps: trained between two, with nothing beside them.
    alignment: of direct I/O, B; 0 where there is none."""

    engine: str
    shape: Shape
    folder: str
    saves: int = 1
    steps: int = 4
    alignment: int = 0


class Saved(Struct, frozen=True):
    """What saves cost, in s and B, the maximum over ranks; lists have a value for each save. idle: a step with
    nothing beside it. beside: a step during a save. raw: the same bytes written plainly, by way. staging: memory that
    a save took of this rank; None where it is not told. digests: of this rank's part of the last save."""

    bytes: int
    written: int
    files: int
    blocked: list[float]
    durable: list[float]
    idle: list[float]
    beside: list[list[float]]
    raw: dict[str, list[float]]
    phases: dict[str, list[float]]
    staging: int | None
    digests: dict[str, str]
    notes: tuple[str, ...]


class Restored(Struct, frozen=True):
    """seconds: load and first step, the maximum over ranks. load: of those, the load. wrong: names that are not
    what was saved."""

    seconds: float
    load: float
    digests: dict[str, str]


def save(place: Place) -> Saved:
    """Train and save in turn, the roof between; the last checkpoint stays. The first save only tells its memory."""
    from microbench.checkpoint.engines import EVERY
    from microbench.checkpoint.roof import Roof
    from microbench.checkpoint.zero_state import make

    asked = place.read(Asked)
    state, engine = make(asked.shape, asked.engine), EVERY[asked.engine]()
    try:
        return _Trial(asked, place.rank, state, engine, Roof(asked.alignment or None)).run()
    finally:
        engine.close()


class _Trial:
    def __init__(self, asked: Asked, rank: int, state: TrainingState, engine: Engine, roof: Roof) -> None:
        self._asked, self._rank, self._state, self._engine, self._roof = asked, rank, state, engine, roof
        self._blocked: list[float] = []
        self._durable: list[float] = []
        self._idle: list[float] = []
        self._beside: list[list[float]] = []
        self._raw: dict[str, list[float]] = {}
        self._phases: dict[str, list[float]] = {}
        self._digests: dict[str, str] = {}

    def run(self) -> Saved:
        for _ in range(WARM):
            self._state.step()
        self._train()
        staged, folder = self._first(), Path()
        for index in range(self._asked.saves):
            if index:
                self._remove(folder)
            folder = Path(self._asked.folder) / f"step-{self._state.number:08d}"
            self._save(folder)
            written, files = _written(folder)
            self._write_plainly(written)
            self._compare(folder)
            self._train()
        return Saved(
            self._state.bytes, written, files, self._blocked, self._durable, self._idle, self._beside, self._raw,
            self._phases, staged, self._digests, self._engine.notes,
        )  # fmt: skip

    def _first(self) -> int | None:
        """B that a save takes of this rank's memory; None where the system does not tell. Nothing else runs: all
        of it is the save's. It is the first, since later ones use its memory again. Its time counts nowhere."""
        from microbench.checkpoint import staging

        folder = Path(self._asked.folder) / "first"
        _together()
        told = staging.begin()
        before = staging.greatest()
        self._engine.save(self._state, folder).wait()
        taken = staging.greatest() - before
        self._remove(folder)
        return taken if told else None

    def _train(self) -> None:
        for _ in range(self._asked.steps):
            self._idle += _longest([self._step()])

    def _step(self) -> float:
        begin = time.perf_counter()
        self._state.step()
        return time.perf_counter() - begin

    def _save(self, folder: Path) -> None:
        """Digests before the clock starts, comparison after it has stopped."""
        self._digests = self._state.digests()
        _together()
        begin = time.perf_counter()
        pending = self._engine.save(self._state, folder)
        blocked = time.perf_counter() - begin
        if self._engine.background:
            end, beside = self._train_beside(pending.wait)
        else:
            pending.wait()
            end, beside = time.perf_counter(), []
        self._blocked += _longest([blocked + pending.stalled])
        self._durable += _longest([end - begin])
        self._beside.append(beside)
        parts = _longest(list(self._engine.phases.values()))
        for part, seconds in zip(self._engine.phases, parts, strict=True):
            self._phases.setdefault(part, []).append(seconds)

    def _train_beside(self, wait: Callable[[], None]) -> tuple[float, list[float]]:
        """(when the save was durable on this rank, durations of the steps that ran until it was on all)."""
        waiting = Waiting(wait)
        steps: list[float] = []
        while True:
            steps += _longest([self._step()])
            if not _longest([0.0 if waiting.ended else 1.0])[0]:
                return waiting.result(), steps

    def _write_plainly(self, written: int) -> None:
        """As many bytes as the checkpoint has for each rank, through the system's cache and past it."""
        import torch

        each = -(-written // torch.distributed.get_world_size())
        for way in ("buffered", "direct") if self._roof.alignment else ("buffered",):
            path = Path(self._asked.folder) / f"raw-{self._rank:05d}"
            _together()
            self._raw.setdefault(way, []).extend(_longest([self._roof.write(path, each, way == "direct")]))

    def _compare(self, folder: Path) -> None:
        """Back to what was saved: every save is loaded, and training goes on from there."""
        if not self._engine.complete(folder):
            raise WrongAnswer(f"{folder.name} does not claim to be whole after its save has ended")
        self._engine.load(self._state, folder)
        wrong = different(self._digests, self._state.digests())
        if wrong:
            raise WrongAnswer(f"{folder.name}: rank {self._rank} loads other than it saved: {wrong}")

    def _remove(self, folder: Path) -> None:
        _together()
        if self._rank == 0:
            shutil.rmtree(folder)
        _together()


def restore(place: Place) -> Restored:
    """Load what is there into a state that holds something else, and train one step."""
    from microbench.checkpoint.engines import EVERY
    from microbench.checkpoint.zero_state import make

    asked = place.read(Asked)
    state, engine = make(asked.shape, asked.engine), EVERY[asked.engine]()
    _together()
    begin = time.perf_counter()
    engine.load(state, Path(asked.folder))
    loaded = time.perf_counter() - begin
    digests_later = state.digests()
    pause = time.perf_counter()
    state.step()
    step = time.perf_counter() - pause
    engine.close()
    load, first = _longest([loaded, step])
    return Restored(load + first, load, digests_later)


def different(saved: dict[str, str], found: dict[str, str]) -> str:
    """Names whose digests differ, the first few; nothing where all are equal."""
    names = sorted(name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _written(folder: Path) -> tuple[int, int]:
    """(B, files) of a checkpoint."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def _together() -> None:
    import torch

    torch.distributed.barrier()


def _longest(seconds: Sequence[float]) -> list[float]:
    """The maximum of each over ranks (METHOD 2)."""
    import torch

    held = torch.tensor(seconds, dtype=torch.float64)
    if len(held):
        torch.distributed.all_reduce(held, op=torch.distributed.ReduceOp.MAX)
    return [float(value) for value in held]
