"""Checkpoints under faults: faults do what they say, outcomes are told apart, and engines with planted faults are found
out."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from harness import children
from harness.child import Place
from harness.records import Origin, Struct
from microbench.checkpoint import crash, faults
from microbench.checkpoint.engines import EVERY, Damaged
from microbench.checkpoint.engines.torch_file import TorchFile
from microbench.checkpoint.forks import fork
from microbench.checkpoint.outcomes import Outcome, Trial, judge
from microbench.checkpoint.state import Shape
from microbench.checkpoint.survivors import Found, reason_of
from microbench.checkpoint.trials import Answer, Asked, carry_out

SIZE = 4 << 20  # B: a state of the smallest kind
LIMIT = 25.0


# What happens to files


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for name, size in (("a.bin", 1000), ("b.bin", 3), ("empty", 0)):
        (tmp_path / name).write_bytes(random.Random(name).randbytes(size))
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", range(20))
def test_a_flip_turns_one_bit_and_a_second_one_turns_it_back(checkpoint: Path, seed: int) -> None:
    before = content(checkpoint)
    faults.flip(checkpoint, random.Random(seed))
    after = content(checkpoint)
    bits = [(x ^ y).bit_count() for name in before for x, y in zip(before[name], after[name], strict=True)]
    assert sum(bits) == 1
    faults.flip(checkpoint, random.Random(seed))
    assert content(checkpoint) == before


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_file_has_lost_its_end(checkpoint: Path, seed: int) -> None:
    before = content(checkpoint)
    faults.truncate(checkpoint, random.Random(seed))
    after = content(checkpoint)
    (cut,) = [name for name in before if before[name] != after[name]]
    assert len(after[cut]) < len(before[cut])
    assert before[cut].startswith(after[cut])


# What a restart found


@pytest.mark.parametrize(("found", "durable", "expected"), [
    (Found(3), 2, Outcome.NEWEST),  # a save may be whole before it says so
    (Found(2, unfinished=(3,)), 2, Outcome.NEWEST),
    (Found(2, reports=((3, "Damaged: cut"),)), 2, Outcome.PREVIOUS),
    (Found(1, reports=((3, "x"), (2, "y"))), 2, Outcome.LOST),
    (Found(1, unfinished=(2,)), 2, Outcome.LOST),
    (Found(0, unfinished=(2, 1)), 1, Outcome.LOST),
    (Found(0, reports=((1, "x"),)), 0, Outcome.NONE),
    (Found(0), 0, Outcome.NONE),
    (Found(3, wrong=("model.x",)), 2, Outcome.SILENT),
    (Found(1, wrong=("a", "b")), 2, Outcome.SILENT),  # worse than that it is old
])  # fmt: skip
def test_outcomes_are_told_apart(found: Found, durable: int, expected: Outcome) -> None:
    outcome, detail = judge(found, durable)
    assert outcome is expected
    assert str(found.step) in detail or not found.step
    assert all(reason in detail for _, reason in found.reports)


def test_the_reason_of_errors_that_were_collected_is_the_first() -> None:
    from torch.distributed.checkpoint.api import CheckpointException

    collected = CheckpointException("no", {1: (OSError(28, "No space left on device"), None)})
    assert reason_of(collected) == "OSError: [Errno 28] No space left on device"


# Worlds of forked processes


class Answered(Struct, frozen=True):
    text: str


def act(rank: int) -> Answered:
    return Answered(f"{rank} of {os.environ['WORLD_SIZE']}")


def hang(rank: int) -> Answered:
    time.sleep(60)
    return act(rank)


def split(rank: int) -> Answered:
    if rank == 1:
        raise ValueError("no such luck")
    return hang(rank)


def test_forked_ranks_answer(tmp_path: Path) -> None:
    world = fork(act, 2, tmp_path / "world")
    world.wait(30)
    assert world.results(Answered) == [Answered("0 of 2"), Answered("1 of 2")]
    assert (world.status, world.late) == ({0: 0, 1: 0}, False)


def deep(rank: int) -> Answered:
    """Starts a process of its own, as engines do that write in another one."""
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    return Answered(str(pid))


def test_what_a_rank_has_started_ends_with_it(tmp_path: Path) -> None:
    """It would go on writing to a checkpoint whose node is gone."""
    world = fork(deep, 2, tmp_path / "world")
    world.wait(30)
    pids = [int(answered.text) for answered in world.results(Answered) if answered]
    assert len(pids) == 2
    end = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_kill_leaves_none_and_no_answer(tmp_path: Path) -> None:
    world = fork(hang, 2, tmp_path / "world")
    world.kill()
    assert world.status == {0: -signal.SIGKILL, 1: -signal.SIGKILL}
    assert world.results(Answered) == [None, None]


def test_who_hangs_is_late_and_who_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = fork(hang, 1, tmp_path / "hung")
    world.wait(0.2)
    assert world.late
    monkeypatch.setattr("microbench.checkpoint.forks.GRACE", 0.2)
    world = fork(split, 2, tmp_path / "split")
    world.wait(30)
    assert not world.late
    assert world.said == "rank 1: ValueError: no such luck"


# Engines with planted faults, each in worlds of real processes


class Trusting(TorchFile):
    """Takes what it can get."""

    def load(self, state, folder):
        try:
            super().load(state, folder)
        except Damaged:
            return


class Deaf(TorchFile):
    """Waits for ever where something is wrong."""

    def load(self, state, folder):
        try:
            super().load(state, folder)
        except Damaged:
            time.sleep(60)


class Brittle(TorchFile):
    """Dies of what is wrong."""

    def load(self, state, folder):
        try:
            super().load(state, folder)
        except Damaged:
            os.kill(os.getpid(), signal.SIGSEGV)


class Replacing(TorchFile):
    """Has only ever one checkpoint, and for a moment none."""

    def save(self, state, folder):
        for old in folder.parent.glob("step-*"):
            if old.name != "step-00000001" or folder.name != "step-00000002":  # the trial's base has two
                shutil.rmtree(old)
        time.sleep(0.3)
        return super().save(state, folder)


PLANTED = {
    Trusting: ("truncated", Outcome.SILENT), Deaf: ("truncated", Outcome.HUNG),
    Brittle: ("truncated", Outcome.CRASHED), Replacing: ("kill", Outcome.LOST),
}  # fmt: skip


class Told(Struct, frozen=True):
    folder: str


class All(Struct, frozen=True):
    answers: dict[str, Answer]


def planted(place: Place) -> All:
    """Every planted engine in one process, which imports once."""
    answers = {}
    for engine, (fault, _) in PLANTED.items():
        EVERY[engine.__name__] = engine
        work, logs = Path(place.read(Told).folder) / engine.__name__, place.folder / engine.__name__
        work.mkdir()
        logs.mkdir()
        limit = 4.0 if engine is Deaf else LIMIT
        asked = Asked(engine.__name__, Shape(SIZE), fault, 2, 1, 3, str(work), limit)
        answers[engine.__name__] = carry_out(asked, logs)
    return All(answers)


def real(place: Place) -> Answer:
    """One fault of an engine that is one."""
    return carry_out(place.read(Asked), place.folder)


def unmounted(place: Place) -> Answer:
    """A disk that fills where nothing may be mounted."""
    faults.isolate = lambda: "not allowed"
    return real(place)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))


def test_planted_faults_are_found_out(tmp_path: Path) -> None:
    """A trial that called any of these well would call a real engine well that loses somebody's training."""
    (tmp_path / "work").mkdir()
    work = children.Work(f"{Path(__file__).stem}:planted", Told(str(tmp_path / "work")))
    (ended,) = children.run(work, tmp_path / "world", 240)
    assert ended.ok, ended.log
    answers = msgspec.json.decode(ended.result, type=All).answers
    found = {name: {trial.outcome for trial in answer.trials} for name, answer in answers.items()}
    assert all(expected in found[engine.__name__] for engine, (_, expected) in PLANTED.items()), found


@pytest.mark.parametrize("fault", ["kill", "full", "truncated", "flipped"])
def test_our_own_engine_survives(tmp_path: Path, fault: str) -> None:
    (tmp_path / "work").mkdir()
    asked = Asked("lazy", Shape(SIZE), fault, 2, 2, 5, str(tmp_path / "work"), LIMIT)
    (ended,) = children.run(children.Work(f"{Path(__file__).stem}:real", asked), tmp_path / "world", 240)
    assert ended.ok, ended.log
    answer = msgspec.json.decode(ended.result, type=Answer)
    right = {Outcome.NEWEST, Outcome.PREVIOUS} if fault == "kill" else {Outcome.PREVIOUS}
    assert {trial.outcome for trial in answer.trials} <= right, answer.trials
    assert answer.size > SIZE
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["base"]  # what the cell itself removes


def test_where_nothing_may_be_mounted_files_are_limited_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    asked = Asked("torch", Shape(SIZE), "full", 2, 1, 5, str(tmp_path / "work"), LIMIT)
    (ended,) = children.run(children.Work(f"{Path(__file__).stem}:unmounted", asked), tmp_path / "world", 240)
    assert ended.ok, ended.log
    answer = msgspec.json.decode(ended.result, type=Answer)
    assert {trial.outcome for trial in answer.trials} == {Outcome.PREVIOUS}, answer.trials
    assert "not allowed" in answer.words[0]
    assert "RLIMIT_FSIZE" in answer.words[0]


# The benchmark


def test_every_outcome_is_counted_the_ones_that_never_came_too() -> None:
    ctx = SimpleNamespace(meter=SimpleNamespace(origin=Origin.MEASURED))
    trials = (Trial(Outcome.NEWEST, "a", 0.5, 2.0), Trial(Outcome.SILENT, "b", 0.7, 2.1), Trial(Outcome.SILENT, "c"))
    made = crash._measurements(ctx, Answer(trials, 10, ("a small disk",)), "ext4")
    counts = {one.params["outcome"]: one.samples for one in made if one.metric == "outcomes"}
    assert counts.keys() == {outcome.value for outcome in Outcome}
    assert (counts[Outcome.SILENT], counts[Outcome.NEWEST], counts[Outcome.HUNG]) == ((2.0,), (1.0,), (0.0,))
    silent = next(one for one in made if one.params.get("outcome") == Outcome.SILENT)
    assert silent.evidence.flags == ("a small disk", "for example: b", "ext4")
    assert next(one for one in made if one.metric == "moment").samples == (0.5, 0.7)


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"engine 'tar' is not known; accepted: .*dcp"):
        crash.CrashParams(engine="tar")
