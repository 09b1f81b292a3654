"""Worlds of processes forked from one that has imported everything: a trial then costs its work, and no import.

For trials in which processes are killed, dozens of them. The parent must have one thread and no torch.distributed of
its own; each child joins the world that its environment names, as a child of `harness.children` does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.files import write_atomically
from harness.orphans import end_with_parent
from harness.records import Struct

LOOK = 0.005  # s between two looks at the processes
GRACE = 4.0  # s that the others have when one has ended in failure
TAIL = 600  # characters of a log that are quoted
T = TypeVar("T")

Function = Callable[[int], Struct]
"""What a forked process runs, with its rank."""


@dataclass
class Forked:
    """A world under way. folder: results and logs. status: exit codes of those that have ended, by rank; minus the
    signal that ended them."""

    folder: Path
    pids: list[int]
    status: dict[int, int] = field(default_factory=dict)
    late: bool = False

    def look(self) -> bool:
        """Whether any is left."""
        for rank, pid in enumerate(self.pids):
            if rank not in self.status:
                ended, code = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.status[rank] = os.waitstatus_to_exitcode(code)
        return len(self.status) < len(self.pids)

    def kill(self) -> None:
        """All at once (SIGKILL), what an engine has started for itself too, and wait until they are gone."""
        self.sweep()
        while self.look():
            time.sleep(LOOK)

    def sweep(self) -> None:
        """End what is left in the sessions of all ranks."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def wait(self, limit: float) -> None:
        """Until all have ended; past `limit` s, or when one has failed and the others do not follow, kill them."""
        end = time.monotonic() + limit
        while self.look():
            now = time.monotonic()
            if any(self.status.values()):
                end = min(end, now + GRACE)
            elif now > end:
                self.late = True
            if now > end:
                self.kill()
            time.sleep(LOOK)
        self.sweep()

    def results(self, kind: type[T]) -> list[T | None]:
        """What each rank returned; None where it did not come to that."""
        paths = [self.folder / f"result-{rank}.json" for rank in range(len(self.pids))]
        return [msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else None for path in paths]

    @property
    def said(self) -> str:
        """The last line that a rank printed which failed."""
        for rank, code in sorted(self.status.items(), key=lambda item: item[1] == -signal.SIGKILL):
            log = (self.folder / f"log-{rank}.txt").read_text(errors="replace")[-TAIL:] if code else ""
            lines = [line.strip() for line in log.splitlines() if line.strip()]
            if lines:
                return f"rank {rank}: {lines[-1]}"
        return "no word of why"


def fork(function: Function, ranks: int, folder: Path) -> Forked:
    """Start a world that runs `function` on each rank; `folder` is a new one."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    sys.stderr.flush()
    world = Forked(folder, [])
    for rank in range(ranks):
        pid = os.fork()
        if not pid:
            _run(function, rank, ranks, port, folder)
        world.pids.append(pid)
    for pid in world.pids:
        _await_session(pid)
    return world


def _await_session(pid: int) -> None:
    """Until the process leads a session of its own: a signal to its group before would reach nobody."""
    with suppress(ProcessLookupError):
        while os.getpgid(pid) != pid:
            time.sleep(LOOK)


def _run(function: Function, rank: int, ranks: int, port: int, folder: Path) -> None:
    """In the child, which never returns."""
    code = 1
    try:
        os.setsid()
        end_with_parent()
        log = os.open(folder / f"log-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115 (as long as the process)
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        value = msgspec.json.encode(function(rank))
        write_atomically(folder / f"result-{rank}.json", value)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a library's threads must not hold what is done
