"""Trials of one engine under one fault, in a process that has imported what they need and forks them.

SIGKILL takes a process's memory and not what the system has in its page cache: these trials are of processes that
die, not of machines that lose power.
"""

from __future__ import annotations

import functools
import os
import random
import resource
import select
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from harness.child import Place
from harness.records import Struct
from microbench.checkpoint import faults, survivors
from microbench.checkpoint.forks import Forked, fork
from microbench.checkpoint.outcomes import Fault, Outcome, Trial, judge
from microbench.checkpoint.state import Shape
from microbench.checkpoint.survivors import Found, Written, step_folder

SPREAD = 1.15  # kills reach a little beyond the end of a save, whose duration is not known before
SLACK = 128 << 10  # B of a small disk beside what was counted: folders, and files in whole pages
LINES = "trials.txt"  # a line for each trial that is done

LIMITED = "no file system of its own could be mounted ({}): files were limited in size (RLIMIT_FSIZE) instead"
MOUNTED = "the disk that fills is a file system in memory (tmpfs) with a limit"


class Asked(Struct, frozen=True):
    """folder: where checkpoints go. limit: s that one world of a trial may take."""

    engine: str
    shape: Shape
    fault: Fault
    trials: int
    ranks: int
    seed: int
    folder: str
    limit: float


class Answer(Struct, frozen=True):
    """size: B of one checkpoint on the disk."""

    trials: tuple[Trial, ...]
    size: int
    words: tuple[str, ...] = ()


def supervise(place: Place) -> Answer:
    """The entry of the process. It imports, and never joins a world itself."""
    return carry_out(place.read(Asked), place.folder)


def carry_out(asked: Asked, logs: Path) -> Answer:
    """All trials; RuntimeError where the engine does not work without any fault either."""
    _warm(asked.engine)
    crew = Crew(asked, Path(asked.folder), logs)
    words, limited = list[str](), False
    if asked.fault == "full":
        reason = faults.isolate()
        limited = bool(reason)
        words.append(LIMITED.format(reason) if limited else MOUNTED)
    size = crew.base()
    act: dict[str, Callable[[int, random.Random], Trial]] = {
        "kill": crew.killed, "truncated": crew.damaged, "flipped": crew.damaged,
        "full": functools.partial(crew.filled, size, limited),
    }  # fmt: skip
    trials = []
    for index in range(asked.trials):
        draw = random.Random(f"{asked.seed} {asked.fault} {index}")  # noqa: S311 - places and moments, no secret
        trials.append(act[asked.fault](index, draw))
        with open(logs / LINES, "a", encoding="utf-8") as file:
            print(trials[-1].outcome, file=file)
    return Answer(tuple(trials), size, tuple(words))


def _warm(engine: str) -> None:
    import torch
    import torch._dynamo
    import torch.distributed.checkpoint
    import torch.distributed.fsdp

    from microbench.checkpoint.engines import EVERY, ZERO

    torch.set_num_threads(1)
    if engine in ZERO:
        os.environ["DS_ACCELERATOR"] = "cpu"  # trials are of the host's memory, whatever else is there
        import deepspeed.runtime.engine  # noqa: F401 (it takes seconds, and starts no thread)
    EVERY[engine]()


class Crew:
    """Worlds of writers and readers. `work` is emptied after every trial; `logs` keeps what each world left."""

    def __init__(self, asked: Asked, work: Path, logs: Path) -> None:
        self.asked, self.work, self.logs = asked, work, logs
        self._count = 0

    def base(self) -> int:
        """Two undamaged checkpoints, which damage is done to copies of; B of one. RuntimeError where even that
        fails: there is nothing to try then."""
        self._base = self.work / "base"
        world = self._write(self._base, 2)
        world.wait(self.asked.limit)
        done = world.results(Written)
        if any(one is None or one.saved != 2 for one in done):
            reason = next((one.reason for one in done if one and one.reason), world.said)
            raise RuntimeError(f"saves without any fault fail already: {reason}")
        outcome, detail = self._read(self._base, 2)
        if outcome is not Outcome.NEWEST:
            raise RuntimeError(f"a checkpoint without any fault does not load: {outcome}: {detail}")
        return sum(path.stat().st_size for path in step_folder(self._base, 2).rglob("*") if path.is_file())

    def killed(self, index: int, draw: random.Random) -> Trial:
        """SIGKILL of all ranks in the third save, at a moment spread over the duration of the second."""
        place = self.work / "killed"
        readable, writable = os.pipe()
        world = self._write(place, 4, writable)
        os.close(writable)
        marks = _Marks(readable, world, self.asked.limit)
        begin = marks.until("begin 3")
        save = marks.at.get("end 2", 0.0) - marks.at.get("begin 2", 0.0)
        if begin is not None:
            after = save * SPREAD * (index + draw.random()) / self.asked.trials
            time.sleep(max(0.0, begin + after - time.monotonic()))
        killed = time.monotonic()
        world.kill()
        marks.rest()
        if begin is None:
            outcome, detail = (Outcome.HUNG if marks.late else Outcome.CRASHED), f"before the kill: {world.said}"
        else:
            outcome, detail = self._read(place, marks.durable)
            detail = f"killed {1e3 * (killed - begin):.1f} ms into a save of about {1e3 * save:.0f} ms: {detail}"
        shutil.rmtree(place)
        return Trial(outcome, detail, (killed - begin) / save if begin and save else None, save or None)

    def damaged(self, index: int, draw: random.Random) -> Trial:
        """The newer of two checkpoints is damaged; the older one is durable and whole."""
        del index
        place = self.work / "damaged"
        shutil.copytree(self._base, place)
        act = faults.truncate if self.asked.fault == "truncated" else faults.flip
        done = act(step_folder(place, 2), draw)
        outcome, detail = self._read(place, 1)
        shutil.rmtree(place)
        return Trial(outcome, f"{done}: {detail}")

    def filled(self, size: int, limited: bool, index: int, draw: random.Random) -> Trial:
        """The second save finds 5 to 90 % of the room that it needs."""
        share = 0.05 + 0.85 * (index + draw.random()) / self.asked.trials
        place = self.work / "full"
        if limited:
            place.mkdir()
            largest = max(path.stat().st_size for path in faults.files(step_folder(self._base, 2)))
            trial = self._fill(place, share, int(largest * share))
            shutil.rmtree(place)
            return trial
        with faults.small_disk(place, int(size * (1 + share)) + SLACK):
            return self._fill(place, share, 0)

    def _fill(self, place: Path, share: float, most: int) -> Trial:
        world = self._write(place, 2, most=most)
        world.wait(self.asked.limit)
        done = [one for one in world.results(Written) if one is not None]
        reasons = [one.reason for one in done if one.reason]
        said = next((reason for reason in reasons if "space" in reason or "large" in reason), "".join(reasons[:1]))
        detail = f"room for {share:.0%} of a save: {said or 'it gave no reason'}"
        claimed = len(done) == self.asked.ranks and all(one.saved == 2 for one in done)
        outcome, found = self._read(place, 2 if claimed else 1)
        if not said and not claimed:
            outcome = Outcome.HUNG if world.late else Outcome.CRASHED
            detail = f"{detail} ({world.said})"
        elif said and outcome is Outcome.NEWEST:
            outcome = Outcome.PREVIOUS  # the save itself reported
        return Trial(outcome, f"{detail}; {found}")

    def _write(self, folder: Path, steps: int, pipe: int = -1, most: int = 0) -> Forked:
        folder.mkdir(exist_ok=True)
        engine, shape = self.asked.engine, self.asked.shape

        def mark(text: str) -> None:
            if most and text == "begin 2":
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            if pipe >= 0 and os.environ["RANK"] == "0":
                os.write(pipe, f"{text} {time.monotonic()}\n".encode())

        return self._fork(lambda _: survivors.write(engine, shape, folder, steps, mark))

    def _read(self, folder: Path, durable: int) -> tuple[Outcome, str]:
        engine, shape = self.asked.engine, self.asked.shape
        world = self._fork(lambda _: survivors.find(engine, shape, folder))
        world.wait(self.asked.limit)
        found = world.results(Found)
        if found[0] is None or any(world.status.values()):
            what = Outcome.HUNG if world.late else Outcome.CRASHED
            return what, f"the restart, after {self.asked.limit:.0f} s" if world.late else f"the restart: {world.said}"
        return judge(found[0], durable)

    def _fork(self, function: Callable[[int], Struct]) -> Forked:
        self._count += 1
        return fork(function, self.asked.ranks, self.logs / f"world-{self._count}")


class _Marks:
    """What the first writer says through a pipe, and when."""

    def __init__(self, descriptor: int, world: Forked, limit: float) -> None:
        self._descriptor, self._world, self._end = descriptor, world, time.monotonic() + limit
        self._text, self.at, self.late = "", dict[str, float](), False

    @property
    def durable(self) -> int:
        return max((int(name.split()[1]) for name in self.at if name.startswith("end")), default=0)

    def until(self, name: str) -> float | None:
        """When that was said; None where the writers have ended before, or their time is over."""
        while name not in self.at:
            ready, _, _ = select.select([self._descriptor], [], [], 0.1)
            self.late = time.monotonic() > self._end
            if self.late or (ready and not self._take()):
                return None
        return self.at[name]

    def rest(self) -> None:
        """What was said before the kill; a process that an engine left behind may hold the pipe open for ever."""
        while select.select([self._descriptor], [], [], 0)[0] and self._take():
            pass
        os.close(self._descriptor)

    def _take(self) -> bool:
        """Read what is there; whether anything was, which ends only with the last writer."""
        data = os.read(self._descriptor, 4096)
        *lines, self._text = (self._text + data.decode()).split("\n")
        for line in lines:
            name, _, moment = line.rpartition(" ")
            self.at[name] = float(moment)
        return bool(data)
