"""One launch as a process tree: started, watched, ended whole. No shell, no process left behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from harness.errors import CannotRun
from harness.job import RESULTS_FILE, Event, Job
from harness.orphans import end_with_parent

GRACE = 5.0  # s between SIGTERM and SIGKILL
LOOK = 0.1  # s between two looks at what the ranks wrote


class Tail:
    """Reads results.jsonl as it grows; a line that is not whole yet waits for the next look."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._decoder = msgspec.json.Decoder(Event)

    def events(self) -> Iterator[Event]:
        """What is new since the last call, in order."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield self._decoder.decode(line)


def run(
    argv: Sequence[str], environment: Mapping[str, str], job: Job, folder: Path, silence: float,
    handle: Callable[[Event], None],
) -> str:  # fmt: skip
    """Run one launch to its end, handing each event to `handle`. Returns why it ended early, or ''.

    silence: seconds without any event after which the launch is taken to hang and is ended.
    """
    tail = Tail(folder / RESULTS_FILE)
    try:
        with _process(argv, environment, folder / "output.log") as process:
            return _watch(process, tail, silence, handle)
    except KeyboardInterrupt:
        for event in tail.events():  # what was measured before the ranks ended is kept
            handle(event)
        raise


def _watch(process: subprocess.Popen[bytes], tail: Tail, silence: float, handle: Callable[[Event], None]) -> str:
    heard = time.monotonic()
    while True:
        ended = process.poll() is not None
        for event in tail.events():
            heard = time.monotonic()
            handle(event)
        if ended:
            return "" if process.returncode == 0 else f"the launcher ended with status {process.returncode}"
        if time.monotonic() - heard > silence:
            return f"nothing was heard for {silence:.0f} s, so the launch was ended"
        time.sleep(LOOK)


@contextmanager
def _process(
    argv: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    with open(log, "wb") as output:
        try:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            raise CannotRun(f"cannot start {argv[0]}: {error.strerror}. See `bench doctor`.") from error
        try:
            yield process
        finally:
            end(process.pid)
            process.wait()


def end(pid: int) -> None:
    """End a process and all its descendants: asked first, then killed. Touches no other process."""
    try:
        parent = psutil.Process(pid)
        tree = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(tree, timeout=GRACE)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=GRACE)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a launch's log, for an error that has no better words."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-count:])
