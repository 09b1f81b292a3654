"""Processes that a cell starts for itself: what must begin afresh, may die, or needs ranks of its own.

A trial that may run out of memory, a library that leaves its state behind, a save that is killed half
way, a state that is loaded by another number of ranks: none of them belongs in the worker. Each becomes a
world of fresh processes on this host, bounded in time, which ends with the worker however that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from harness.child import RESULT, SPEC, Result
from harness.files import write_atomically
from harness.orphans import end_with_parent
from harness.records import Struct

LOOK = 0.02  # s between two looks at the processes
GRACE = 5.0  # s that the others have when one has ended in failure, and between SIGTERM and SIGKILL
TAIL = 1500  # characters of a log that are quoted
EVERY = 10.0  # s between two words of progress
LAUNCHER = ("TORCHELASTIC_", "GROUP_", "ROLE_")  # variables of the launch that this worker is of, not its children


@dataclass(frozen=True)
class Ended:
    """How one process ended. status: its exit code, or minus the signal that ended it. peak: greatest resident
    memory, B. result: what its function returned, as JSON; empty where it did not come to that. log: the end of
    what it printed. late: it was ended at its time limit."""

    rank: int
    status: int
    peak: int
    result: bytes
    log: str
    late: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 0 and bool(self.result)

    @property
    def reason(self) -> str:
        """Why it gave no result, in words; the last line of its log says most."""
        if self.late:
            return f"rank {self.rank} was ended at its time limit"
        if self.status < 0:
            return f"rank {self.rank} was ended by {signal.Signals(-self.status).name}"
        last = next((line.strip() for line in reversed(self.log.splitlines()) if line.strip()), "no word of why")
        return f"rank {self.rank}: {last}"


@dataclass(frozen=True)
class Part:
    """The share of a world that is started here: ranks `first` and on of `world`, `local` and on of this host. They
    all meet at `address` and `port`."""

    first: int
    world: int
    local: int
    beside: int  # ranks of the world on this host
    address: str
    port: int


@dataclass(frozen=True)
class Work:
    """What a world does. entry: 'module:function', called on every rank with a `harness.child.Place`; it returns a
    Struct or None. spec: what it reads there. threads: of each process. environment: set beside this one's own.
    part: where the world is larger than what is started here."""

    entry: str
    spec: Struct
    ranks: int = 1
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    part: Part | None = None


class World:
    """Started processes. Use as a context: on leaving it, none of them is left."""

    def __init__(self, work: Work, folder: Path) -> None:
        """folder: a new one for this world; the specification, results and logs lie there."""
        folder.mkdir(parents=True)
        write_atomically(folder / SPEC, msgspec.json.encode(work.spec))
        self.folder, self._begin = folder, time.monotonic()
        self._part = work.part or Part(0, work.ranks, 0, work.ranks, "127.0.0.1", free_port())
        common = _variables(work, self._part)
        self._first = self._part.first
        self._processes = [
            _start(work.entry, folder, self._first + at, common | {"LOCAL_RANK": str(self._part.local + at)})
            for at in range(work.ranks)
        ]
        self._peaks, self._swept = [0] * work.ranks, set[int]()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.end()

    @property
    def running(self) -> bool:
        """Whether any process is left."""
        self._sweep()
        return any(process.poll() is None for process in self._processes)

    @property
    def failed(self) -> bool:
        """Whether any process has ended other than well."""
        return any(process.poll() not in (None, 0) for process in self._processes)

    def kill(self) -> None:
        """End all at once, as a node that loses power does (SIGKILL), with what they have started."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it is there until it is waited for
        self._sweep()

    def _sweep(self) -> None:
        """End what ended processes have started and left behind: each leads a session. Once for each, and at once: its
        number may become another's."""
        for process in self._processes:
            if process.pid not in self._swept and process.poll() is not None:
                self._swept.add(process.pid)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def wait(self, limit: float, say: Callable[[str], None] | None = None, what: str = "") -> list[Ended]:
        """Wait until all have ended; past `limit` s, or when one has failed and the others do not end by themselves,
        end them. say: is told `what` and for how long, every few seconds."""
        end, told, late = time.monotonic() + limit, time.monotonic(), False
        while self.running:
            now = time.monotonic()
            self._peaks = [max(*pair) for pair in zip(self._peaks, map(_resident, self._processes), strict=True)]
            if self.failed:
                end = min(end, now + GRACE)
            elif now > end:
                late = True
            if now > end:
                self.end()
            if say is not None and now - told > EVERY:
                told = now
                say(f"{what} ({now - self._begin:.0f} s)")
            time.sleep(LOOK)
        return [self._ended(at, late) for at in range(len(self._processes))]

    def end(self) -> None:
        """End what is left: asked first, then killed."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + GRACE
        while self.running and time.monotonic() < until:
            time.sleep(LOOK)
        self.kill()
        for process in self._processes:
            process.wait()
        self._sweep()

    def _ended(self, at: int, late: bool) -> Ended:
        status, peak, value = self._processes[at].returncode, self._peaks[at], b""
        rank = self._first + at
        path = self.folder / RESULT.format(rank)
        if path.exists():
            held = msgspec.json.decode(path.read_bytes(), type=Result)
            peak, value = max(peak, held.peak), bytes(held.value)
        log = (self.folder / f"log-{rank}.txt").read_text(errors="replace")[-TAIL:]
        return Ended(rank, status, peak, value, log, late and status != 0)


def run(
    work: Work, folder: Path, limit: float, say: Callable[[str], None] | None = None, what: str = ""
) -> list[Ended]:
    """Start a world and wait for its end; one `Ended` for each rank."""
    with World(work, folder) as world:
        return world.wait(limit, say, what or work.entry)


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def _variables(work: Work, part: Part) -> dict[str, str]:
    held = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}
    return {
        **held, "OMP_NUM_THREADS": str(work.threads), **work.environment,
        "MASTER_ADDR": part.address, "MASTER_PORT": str(part.port), "WORLD_SIZE": str(part.world),
        "LOCAL_WORLD_SIZE": str(part.beside),
    }  # fmt: skip


def _start(entry: str, folder: Path, rank: int, common: Mapping[str, str]) -> subprocess.Popen[bytes]:
    argv = (sys.executable, "-m", "harness.child", entry, str(folder))
    with open(folder / f"log-{rank}.txt", "wb") as log:
        return subprocess.Popen(
            argv, env={**common, "RANK": str(rank)}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, preexec_fn=_prepared, start_new_session=True,
        )  # fmt: skip


def _prepared() -> None:
    """The worker waits for SIGTERM in a thread and blocks it; its children must not inherit that."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    end_with_parent()


def _resident(process: subprocess.Popen[bytes]) -> int:
    """Greatest resident memory so far, B; 0 where it has ended."""
    from harness.child import peak

    return peak(process.pid) if process.poll() is None else 0
