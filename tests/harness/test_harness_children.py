"""Processes that a cell starts: results come back, deaths are named, nothing outlives its world."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from harness import children
from harness.child import Place
from harness.records import Struct


class Asked(Struct, frozen=True):
    what: str = "answer"


class Answer(Struct, frozen=True):
    rank: int
    world: int
    port: str
    blocked: bool


def act(place: Place) -> Answer:
    """What a child of these tests does."""
    match place.read(Asked).what:
        case "fail" if place.rank == 1:
            raise ValueError("no such luck")
        case "vanish" if place.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave" | "leave and wait" as what:
            left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            (place.folder / "left.tmp").write_text(str(left.pid))
            (place.folder / "left.tmp").rename(place.folder / "left")
            time.sleep(60 if what == "leave and wait" else 0)
        case "fail" | "vanish" | "wait":
            time.sleep(60)
        case "fill":
            held = bytearray(64 << 20)
            held[::4096] = b"x" * len(held[::4096])
    blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return Answer(place.rank, place.world, os.environ["MASTER_PORT"], blocked)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))


def work(what: str, ranks: int = 2) -> children.Work:
    return children.Work(f"{Path(__file__).stem}:act", Asked(what), ranks)


def test_every_rank_answers_and_knows_its_world(tmp_path: Path) -> None:
    ended = children.run(work("answer"), tmp_path / "world", 30)
    answers = [msgspec.json.decode(one.result, type=Answer) for one in ended]
    assert [one.ok for one in ended] == [True, True]
    assert [(a.rank, a.world) for a in answers] == [(0, 2), (1, 2)]
    assert len({a.port for a in answers}) == 1


def test_a_child_can_be_told_to_end_though_its_parent_blocks_the_signal(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        [ended] = children.run(work("answer", 1), tmp_path / "world", 30)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not msgspec.json.decode(ended.result, type=Answer).blocked


@pytest.mark.parametrize(("what", "reason"), [("fail", "rank 1: ValueError: no such luck"), ("vanish", "SIGKILL")])
def test_a_death_is_named_and_ends_the_others(
    what: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "GRACE", 0.5)
    ended = children.run(work(what), tmp_path / "world", 60)
    assert [one.ok for one in ended] == [False, False]
    assert reason in ended[1].reason
    assert not ended[0].late, "the first one waited for the other; the time limit was not reached"


def test_a_time_limit_is_said(tmp_path: Path) -> None:
    [ended] = children.run(work("wait", 1), tmp_path / "world", 0.5)
    assert ended.late
    assert "time limit" in ended.reason


def test_leaving_a_world_ends_its_processes(tmp_path: Path) -> None:
    with children.World(work("wait"), tmp_path / "world"):
        mine = psutil.Process().children()
        assert len(mine) >= 2
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in mine)


@pytest.mark.parametrize("how", ["exit", "end", "kill"])
def test_what_a_process_has_started_ends_with_it(tmp_path: Path, how: str) -> None:
    """An engine's own writers would otherwise finish a save that was killed, or write beside the next trial."""
    folder = tmp_path / "world"
    with children.World(work("leave" if how == "exit" else "leave and wait", 1), folder) as world:
        while not (folder / "left").exists():
            assert world.running or (folder / "left").exists()
            time.sleep(0.01)
        left = int((folder / "left").read_text())
        if how == "exit":
            assert world.wait(30)[0].ok
        elif how == "kill":
            world.kill()
        else:
            world.end()
        until = time.monotonic() + 10
        while _lives(left) and time.monotonic() < until:
            time.sleep(0.01)
        assert not _lives(left)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_peak_memory_is_the_childs_own(tmp_path: Path) -> None:
    held = bytearray(256 << 20)  # of this process: a fork would pass it on
    held[::4096] = b"x" * len(held[::4096])
    plain, filled = (
        children.run(work(what, 1), tmp_path / what, 30)[0].peak for what in ("answer", "fill")
    )  # fmt: skip
    assert 60 << 20 < filled - plain < 80 << 20
    assert plain < 128 << 20, sys.version
