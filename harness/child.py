"""One process of `harness.children`: `python -m harness.child MODULE:FUNCTION DIR`.

Calls the function with its `Place`, writes what it returns. A fault is printed, and is exit code 1.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.files import write_atomically
from harness.records import Struct

SPEC, RESULT = "spec.json", "result-{}.json"
T = TypeVar("T")


class Result(Struct, frozen=True):
    """What a process leaves: its greatest resident memory in B, and what its function returned."""

    peak: int
    value: msgspec.Raw


@dataclass(frozen=True)
class Place:
    """Where a process stands. folder: its world's, where it may write."""

    rank: int
    world: int
    folder: Path

    def read(self, kind: type[T]) -> T:
        """The specification."""
        return msgspec.json.decode((self.folder / SPEC).read_bytes(), type=kind)


def peak(pid: int | str = "self") -> int:
    """Greatest resident memory of a process since it began, B; 0 where the system does not tell. The figure of
    getrusage also holds what its parent had when it forked."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def resident() -> int:
    """Memory that this process holds now, B; 0 where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def forget_peak() -> None:
    """Let the greatest resident memory count from now on (proc(5), clear_refs), where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main(entry: str, folder: str) -> int:
    from harness.platform import resolve  # it imports numpy, and `bench list` comes by this module

    place = Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(folder))
    try:
        value = msgspec.Raw(msgspec.json.encode(resolve(entry)(place)))
    except BaseException as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    write_atomically(place.folder / RESULT.format(place.rank), msgspec.json.encode(Result(peak(), value)))
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a library's threads must not hold what is done, nor change its exit code
