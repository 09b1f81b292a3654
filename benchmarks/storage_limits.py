"""The storage part of the quick suite: its time, the disk that it takes, and what it leaves behind.

`python benchmarks/storage_limits.py [--json]`. Runs `bench run --suite quick --only offload --only checkpoint` into
empty folders, looks twenty times a second at what lies in the one given with --scratch, and afterwards at the home
and temporary folders that it was given: nothing may be left in any. Then starts it again three times and ends it after
a while, by an interrupt, SIGTERM and SIGKILL; the run after the last removes what that one left. Targets: 4 minutes,
4 GiB, nothing left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from common import wants_json

COMMAND = (sys.executable, "-m", "bench.main", "run", "--suite", "quick", "--only", "offload", "--only", "checkpoint")
LONGEST, LARGEST = 240.0, 4 * 2**30
ENDINGS = ((signal.SIGINT, 12.0), (signal.SIGTERM, 25.0), (signal.SIGKILL, 40.0))  # after so many s
GRACE = 30.0  # s to end in


@dataclass(frozen=True)
class Told:
    """seconds: wall time; largest: B in the scratch folder at most; left: files there, at home and in the temporary
    folder afterwards."""

    name: str
    seconds: float
    largest: int
    left: tuple[str, ...]
    code: int

    @property
    def met(self) -> bool:
        return not self.left and self.seconds <= LONGEST and self.largest <= LARGEST


class Places:
    """Empty folders, and a run among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("scratch", "home", "tmp", "runs"):
            (root / name).mkdir(exist_ok=True)

    def start(self) -> subprocess.Popen[bytes]:
        # DeepSpeed's operators are built once and kept: they are not what a run writes.
        kept = os.environ.get("TORCH_EXTENSIONS_DIR") or str(Path.home() / ".cache" / "torch_extensions")
        env = os.environ | {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp")}
        env |= {"TORCH_EXTENSIONS_DIR": kept} if Path(kept).is_dir() else {}
        argv = (*COMMAND, "--out", str(self.root / "runs"), "--scratch", str(self.root / "scratch"), "--no-report")
        return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=sys.stderr, cwd=self.root / "home")

    def watch(self, name: str, after: tuple[int, float] | None = None) -> Told:
        """A run to its end, or ended by a signal after so many seconds."""
        begin, largest, process = time.monotonic(), 0, self.start()
        while process.poll() is None:
            spent = time.monotonic() - begin
            if after is not None and spent > after[1]:
                process.send_signal(after[0])
                after = (signal.SIGKILL, spent + GRACE)
            largest = max(largest, taken(self.root / "scratch"))
            time.sleep(0.05)
        return Told(name, time.monotonic() - begin, largest, self.left(), process.returncode)

    def left(self) -> tuple[str, ...]:
        places = (self.root / name for name in ("scratch", "home", "tmp"))
        return tuple(str(path.relative_to(self.root)) for place in places for path in sorted(place.rglob("*")))[:20]


def taken(folder: Path) -> int:
    """B on the disk, of files that may vanish while one looks."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def main() -> int:
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        told = []
        for number, seconds in ENDINGS:
            told.append(
                places.watch(f"ended by {signal.Signals(number).name} after {seconds:.0f} s", (number, seconds))
            )
        told.append(places.watch("to its end"))
    killed = told[-2]  # what it left, the run after it has removed
    if as_json:
        print(json.dumps([asdict(one) | {"met": one.met or one is killed} for one in told], indent=1))
        return 0
    print("storage part of the quick suite: at most 4 min and 4 GiB, nothing left (SIGKILL: left to the next run)")
    for one in told:
        verdict = "met" if one.met or one is killed else "MISSED"
        left = f"left: {', '.join(one.left)}" if one.left else "nothing left"
        size = f"{one.largest / 2**30:5.2f} GiB"
        print(f"  {one.name:<32} {one.seconds:5.0f} s  {size}  code {one.code:>3}  {verdict:<6} {left}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
