"""One world over all ranks of a launch: it is named who failed first, and nobody waits for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import together
from harness.child import Place
from harness.children import Ended
from harness.records import Struct


class Asked(Struct, frozen=True):
    what: str = "answer"


class Answer(Struct, frozen=True):
    rank: int
    world: int
    local: str
    agent: str


def act(place: Place) -> Answer:
    """What a process of these tests does."""
    what = place.read(Asked).what
    if what == "first fails" and place.rank == 1:
        raise ValueError("no such luck")
    if what == "first fails":
        time.sleep(0.3)
        raise RuntimeError("Connection closed by peer")
    if what in ("one fails", "wait") and not (what == "one fails" and place.rank == 1):
        time.sleep(60)
    if what == "one fails":
        raise ValueError("no such luck")
    return Answer(place.rank, place.world, os.environ["LOCAL_RANK"], os.environ.get("TORCHELASTIC_RUN_ID", ""))


class Threads:
    """Ranks as threads of this process, which meet where real ones exchange."""

    def __init__(self, rank: int, world: int, shared: list[list[object]], meet: threading.Barrier) -> None:
        self.rank, self.world, self.local = rank, world, rank
        self._shared, self._meet = shared, meet

    def _all(self, value: object) -> list[object]:
        self._shared[0][self.rank] = value
        self._meet.wait(30)
        found = list(self._shared[0])
        self._meet.wait(30)
        return found

    def words(self, text: str) -> list[str]:
        return [str(one) for one in self._all(text)]

    def maximum(self, values: Sequence[float]) -> list[float]:
        return [float(max(held)) for held in zip(*self._all(list(values)), strict=True)]  # type: ignore[call-overload]


def run(what: str, folder: Path, world: int = 2, ranks: int = 2, limit: float = 60) -> list[tuple[Ended | None, str]]:
    shared: list[list[object]] = [[None] * ranks]
    meet = threading.Barrier(ranks)
    found: list[tuple[Ended | None, str]] = [(None, "")] * ranks

    def one(rank: int) -> None:
        held = Threads(rank, ranks, shared, meet)
        found[rank] = together.run(
            held, f"{Path(__file__).stem}:act", Asked(what), folder / str(rank), limit, 1, print, what, world
        )  # type: ignore[arg-type]

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "the launch's")


def test_every_rank_is_one_of_the_world_and_not_of_the_launch(tmp_path: Path) -> None:
    found = run("answer", tmp_path)
    assert [failure for _, failure in found] == ["", ""]
    assert [ended.result for ended, _ in found if ended] == [
        b'{"rank":%d,"world":2,"local":"%d","agent":""}' % (rank, rank) for rank in range(2)
    ]


def test_a_rank_beyond_the_world_waits_without_a_process(tmp_path: Path) -> None:
    (first, failure), (other, _) = run("answer", tmp_path, world=1)
    assert not failure
    assert first is not None
    assert b'"world":1' in first.result
    assert other is None


def test_the_one_that_failed_is_named_not_the_one_that_lost_it(tmp_path: Path) -> None:
    assert [failure for _, failure in run("first fails", tmp_path)] == ["rank 1: ValueError: no such luck"] * 2


def test_where_one_fails_the_others_do_not_wait(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert [failure for _, failure in run("one fails", tmp_path)] == ["rank 1: ValueError: no such luck"] * 2
    assert time.monotonic() - begin < 55, "the other one sleeps for 60 s"


def test_a_world_past_its_time_is_ended_on_every_rank(tmp_path: Path) -> None:
    failures = [failure for _, failure in run("wait", tmp_path, limit=2)]
    assert failures[0] == failures[1] != ""
