"""What tests of checkpoint engines have ranks do, in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.child import Place
from harness.records import Struct
from microbench.checkpoint.state import Shape

if TYPE_CHECKING:
    from microbench.checkpoint.state import TrainingState


class Asked(Struct, frozen=True):
    engine: str
    shape: Shape
    folder: str


class Answer(Struct, frozen=True):
    """before, after: digests at the save, and of what was loaded after training had gone on. steps: done at both.
    losses: of the step after the save, and of the same one after the load."""

    before: dict[str, str]
    changed: dict[str, str]
    after: dict[str, str]
    steps: tuple[int, int]
    positions: tuple[int, int]
    losses: tuple[float, float]
    complete: tuple[bool, bool]


class Answers(Struct, frozen=True):
    engines: dict[str, Answer]


def there_and_back(place: Place) -> Answers:
    """For each of the engines (names with commas between): save in training, train on at once, load: what came back,
    and whether training goes on alike."""
    from microbench.checkpoint.state import TrainingState

    asked = place.read(Asked)
    state = TrainingState(asked.shape)
    return Answers({name: _one(state, name, Path(asked.folder) / name) for name in asked.engine.split(",")})


def _one(state: TrainingState, name: str, folder: Path) -> Answer:
    from microbench.checkpoint.engines import ENGINES

    engine = ENGINES[name]()
    state.step()
    before, steps, position = state.digests(), state.number, state.position
    early = engine.complete(folder)
    _together()
    pending = engine.save(state, folder)
    loss = state.step()  # while it is written, where it is written in the background
    changed = state.digests()
    pending.wait()
    _together()
    complete = engine.complete(folder)
    engine.load(state, folder)
    after, positions = state.digests(), (position, state.position)
    answer = Answer(
        before, changed, after, (steps, state.number), positions, (loss, state.step()), (early, complete)
    )  # fmt: skip
    engine.close()
    return answer


class Loss(Struct, frozen=True):
    losses: tuple[float, ...]
    wrong: tuple[list[str], list[str]]


def train(place: Place) -> Loss:
    """Losses of three steps from the content of step 3, and what differs from that of steps 3 and 4."""
    from microbench.checkpoint.state import TrainingState

    state = TrainingState(place.read(Asked).shape)
    state.fill(3)
    wrong = (state.differences(3), state.differences(4))
    return Loss(tuple(state.step() for _ in range(3)), wrong)


class Complaint(Struct, frozen=True):
    kind: str
    reason: str


class Complaints(Struct, frozen=True):
    each: list[Complaint]


class Cases(Struct, frozen=True):
    """each: (engine, folder, size of the state that it is loaded into)."""

    each: list[tuple[str, str, int]]


def complain(place: Place) -> Complaints:
    """How engines refuse what is in folders."""
    from microbench.checkpoint.engines import ENGINES, Damaged, Foreign
    from microbench.checkpoint.state import TrainingState

    found = []
    for name, folder, size in place.read(Cases).each:
        engine = ENGINES[name]()
        try:
            engine.load(TrainingState(Shape(size)), Path(folder))
            found.append(Complaint("loaded", ""))
        except (Damaged, Foreign) as error:
            found.append(Complaint(type(error).__name__, str(error)))
        engine.close()
    return Complaints(found)


def _together() -> None:
    import torch

    torch.distributed.barrier()
