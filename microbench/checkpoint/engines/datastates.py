"""DataStates-LLM by its own package: copied while tensors are immutable, written beside training.

(Maurya et al., HPDC 2024, arXiv 2406.10707.) Called as its authors do from DeepSpeed: `save(dict, path)`, which returns
while the copy goes on; `wait(persist=False)` until tensors may change, `wait(persist=True)` until they are in the
file; `load(path)`. Where it cannot go on it prints why and ends the process (SystemExit).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from microbench.checkpoint.engines import Damaged, Foreign
from microbench.checkpoint.engines.durable import sync_all
from microbench.checkpoint.engines.probe import Answer
from microbench.checkpoint.engines.torch_file import parts, take

if TYPE_CHECKING:
    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState

FILE = "rank-{:05d}.datastates"
PLACES = (
    ("datastates", "CheckpointEngine"),
    ("datastates.llm", "CheckpointEngine"),
    ("datastates.llm", "Checkpointing"),
)
"""Where its versions have the engine; the first is what DeepSpeed 0.19 imports."""
GIB = 1 << 30


class Package(Protocol):
    """What is used of it."""

    def save(self, state: dict[str, object], path: str, /) -> object: ...

    def load(self, path: str, /, map_location: str) -> object: ...

    def wait(self, *, persist: bool) -> object: ...


class Flight:
    """One save under way. The package is waited for in one thread only. stalled: s that the optimizer waited for the
    copy."""

    def __init__(self, staged: Future[None], written: Future[None]) -> None:
        self._staged, self._written = staged, written
        self.stalled = 0.0

    def hold(self) -> None:
        """Called before the optimizer changes anything."""
        begin = time.perf_counter()
        self._staged.result()
        self.stalled += time.perf_counter() - begin

    def wait(self) -> None:
        self._staged.result()
        self._written.result()


class DataStates:
    """A file for each rank, in the package's format. No manifest."""

    name = "datastates"
    background = True
    notes = (
        "copied during the next forward and backward; what the optimizer waits for the copy counts as blocked",
        "the benchmark fsyncs: what the package promises is that its file is written",
        "the package reads its files with pickle",
    )

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._package: Package | None = None
        self._hooked = False
        self._thread = ThreadPoolExecutor(1, "datastates")
        self._flight: Flight | None = None

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch

        if self._flight is not None:
            self._flight.wait()
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        package, path = self._made(state), folder / FILE.format(rank)
        if not self._hooked:
            state.optimizer.register_step_pre_hook(lambda *_: self._hold())
            self._hooked = True
        folder.mkdir(exist_ok=True)
        held = {"world": world, "tensors": parts(state.tensors())}
        said = _spoken(lambda: package.save(held, str(path)))
        if said:
            raise OSError(f"DataStates ended the save: {said}")

        def write() -> None:
            _finish(package, persist=True)
            sync_all([path], folder)

        staged = self._thread.submit(_finish, package, persist=False)
        self._flight = Flight(staged, self._thread.submit(write))
        return self._flight

    def load(self, state: TrainingState, folder: Path) -> None:
        import torch

        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        path, saved = folder / FILE.format(rank), len(list(folder.glob("rank-*.datastates")))
        if not saved:
            raise Damaged(f"{folder}: no file of any rank is there")
        if not path.exists() and saved < world:
            raise Foreign(f"{folder} has files of {saved} ranks and is loaded by {world}: shards are not reshaped")
        package, found = self._made(state), list[object]()
        try:
            said = _spoken(lambda: found.append(package.load(str(path), map_location="cpu")))
        except Exception as error:
            said = f"{type(error).__name__}: {str(error)[:200]}"
        if said:
            raise Damaged(f"{path.name}: {said}")
        take(state, found[0], world)

    def complete(self, folder: Path) -> bool:
        """Its files are there: how much of them is not to be seen."""
        return any(folder.glob("rank-*.datastates"))

    def close(self) -> None:
        if self._flight is not None:
            self._flight.wait()
        self._thread.shutdown()

    def _hold(self) -> None:
        if self._flight is not None:
            self._flight.hold()

    def _made(self, state: TrainingState) -> Package:
        """The package's engine, with room in the host's memory for this rank's state."""
        import torch

        if self._package is None:
            size = sum(tensor.numel() * tensor.element_size() for tensor in parts(state.tensors()).values())
            self._package = _make(-(-size // GIB), torch.distributed.get_rank())
        return self._package


def _make(cache: int, rank: int) -> Package:
    """cache: GiB of host memory that it copies into. RuntimeError with its words where it does not run here."""
    found = list[Package]()
    said = _spoken(lambda: found.append(_engine()({"host_cache_size": cache}, rank)))
    if said:
        raise RuntimeError(f"DataStates does not run here: {said}")
    return found[0]


def _engine() -> Callable[..., Package]:
    for module, name in PLACES:
        with contextlib.suppress(ModuleNotFoundError):
            engine: Callable[..., Package] | None = getattr(importlib.import_module(module), name, None)
            if engine is not None and "persist" in inspect.signature(engine.wait).parameters:  # type: ignore[attr-defined]
                return engine
    names = ", ".join(f"{module}.{name}" for module, name in PLACES)
    raise RuntimeError(
        f"the installed package has no engine with wait(persist=...), which tells when a file is there: "
        f"looked for {names}"
    )


def _finish(package: Package, persist: bool) -> None:
    said = _spoken(lambda: package.wait(persist=persist))
    if said:
        raise OSError(f"DataStates ended the save: {said}")


def _spoken(work: Callable[[], object]) -> str:
    """What the package printed where it ended the process; nothing where it did not."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            work()
    except SystemExit as error:
        lines = output.getvalue().strip().splitlines()
        return lines[-1][:300] if lines else f"it ended the process (exit {error.code}); its log says why"
    return ""


def probe(device: str) -> Answer:
    """Whether its engine can be made on this device."""
    del device
    try:
        _make(1, 0)
    except RuntimeError as error:
        return Answer(str(error))
    except Exception as error:
        return Answer(f"DataStates does not run here: {type(error).__name__}: {str(error)[:300]}")
    return Answer()
