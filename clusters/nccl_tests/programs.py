"""Finds and starts the programs of nccl-tests and rccl-tests: by argument vectors, never through a shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clusters.nccl_tests.rows import TYPES
from harness.hardware import NCCL_TESTS
from harness.orphans import end_with_parent

ITERATIONS = 20  # operations that one printed time is the average of
WARMUP = 5
CYCLES = 10  # times that each size is measured in one start, where the program can
REDUCED = "Reducing maxBytes"  # what a program says before it measures a smaller size than it was asked for
GRACE = 2.0  # s between SIGTERM and SIGKILL
_LAST = 8  # lines of output that an error repeats


@dataclass(frozen=True)
class Offers:
    """What a program's --help says it can: options that write JSON, and the repeating of all sizes."""

    json: tuple[str, ...]
    cycles: bool


class Running:
    """A started program, in a process group of its own; what it prints goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process, self._output = process, output

    def ended(self, seconds: float) -> bool:
        """Whether it ends within that time."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def status(self) -> int | None:
        return self._process.poll()

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")


@contextmanager
def started(argv: Sequence[str], output: Path) -> Iterator[Running]:
    """The program, ended with all of its group at the latest when the block is left. OSError where it
    cannot be started."""
    with open(output, "wb") as file:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=_end_with_parent,
        )  # fmt: skip
    try:
        yield Running(process, output)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    continue


def _end_with_parent() -> None:
    """A worker blocks SIGTERM, and a child inherits that: it is let through again, so that it ends one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    end_with_parent()


def find(program: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The program in the folder that the definition names, else on PATH."""
    folders = [folder for folder in (environ.get(NCCL_TESTS), environ.get("PATH")) if folder]
    found = (shutil.which(program, path=folder) for folder in folders)
    return next((Path(path) for path in found if path), None)


def missing(program: str, amd: bool, environ: Mapping[str, str] = os.environ) -> str:
    """Where it was looked for, and how to get it."""
    folder = environ.get(NCCL_TESTS)
    named = f"in {folder} (launch.nccl_tests of the definition)" if folder else "in launch.nccl_tests of the definition"
    source = "ROCm/rccl-tests" if amd else "NVIDIA/nccl-tests"
    return (
        f"{program} is neither {named} nor on PATH. To get it: clone {source} from GitHub, run make in it, and put "
        "its folder build on PATH or name it in the definition."
    )


def offers(usage: str) -> Offers | None:
    """What the text of --help tells; None where it is not that of such a program."""
    if "--minbytes" not in usage:
        return None
    json: tuple[str, ...] = ()
    if re.search(r"-J, *--output_file", usage):
        json = ("-J",)
    elif re.search(r"-x, *--output_file", usage) and "--output_format" in usage:
        json = ("-Z", "json", "-x")
    return Offers(json, "--run_cycles" in usage)


def command(path: Path, can: Offers, size: int, dtype: str, ranks: int, report: Path) -> tuple[str, ...]:
    """One size on the first `ranks` devices of this node, by one process, results checked."""
    name = TYPES.get(dtype, (dtype,))[0]
    cycles = ("-N", str(CYCLES)) if can.cycles else ()
    json = (*can.json, str(report)) if can.json else ()
    return (
        str(path), "-b", str(size), "-e", str(size), "-f", "2", "-g", str(ranks), "-d", name, "-o", "sum",
        "-n", str(ITERATIONS), "-w", str(WARMUP), "-c", "1", *cycles, *json,
    )  # fmt: skip


def last_lines(text: str) -> str:
    """The end of what a program said, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" #")]
    return " | ".join(lines[-_LAST:]) or "nothing"
