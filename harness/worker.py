"""One rank: `python -m harness.worker --job job.json --out DIR`.

Measures the job's cells in step with the other ranks. Rank 0 appends what is measured to
results.jsonl as it goes; every rank leaves one report when it ends, also when it fails or is told to
end, so that a missing report means a rank that died without a word. Standard output is a log.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from harness import registry
from harness.context import Context
from harness.errors import CannotRun, Skip, WrongAnswer
from harness.files import append_line, write_atomically
from harness.job import RESULTS_FILE, Began, Event, Job, Measured, RankReport, Said, Started, kept_folder, rank_file
from harness.orphans import end_with_parent
from harness.platform import Platform, resolve
from harness.provenance import digest, provenance
from harness.ranks import Ranks
from harness.records import SCHEMA, Failed, Measurement, Ok, Outcome, Record, Skipped
from harness.store import Planned
from harness.visits import Budget, Visit, joined, visits


@dataclass
class _Progress:
    """What this rank is doing, for the report that it leaves."""

    rank: int
    local: int
    folder: Path
    cell: int | None = None
    device: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, status: str, reason: str = "", speaks_for: int = 1) -> None:
        """Write this rank's report once; the first word counts."""
        if not self.lock.acquire(blocking=False):
            return
        for rank in range(self.rank, self.rank + speaks_for):
            report = {
                "rank": rank, "local": self.local, "host": socket.gethostname(), "pid": os.getpid(),
                "status": status, "device": self.device, "cell": self.cell, "reason": reason,
            }  # fmt: skip
            write_atomically(rank_file(self.folder, rank), msgspec.json.encode(msgspec.convert(report, RankReport)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one rank; 0 when every visit was made."""
    parser = argparse.ArgumentParser(prog="harness.worker", description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    job = msgspec.json.decode(args.job.read_bytes(), type=Job)
    progress = _Progress(int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0)), args.out)
    _report_when_told_to_end(progress)
    end_with_parent()
    try:
        platform: Platform = resolve(job.platform)(job)
        progress.device = str(platform.arena.device)
        refuse_other_plans(platform.ranks, digest(job))
        _Launch(job, platform, progress).run()
        progress.cell = None
        progress.report("done", speaks_for=platform.speaks_for)
        platform.close()
    except Exception as error:
        traceback.print_exc()
        progress.report("failed", f"{type(error).__name__}: {error}")
        return 1
    return 0


def refuse_other_plans(ranks: Ranks, mine: str) -> None:
    """Ranks that hold different jobs would wait for each other in different operations. CannotRun names
    those that differ from rank 0."""
    plans = ranks.words(mine)
    odd = [str(rank) for rank, plan in enumerate(plans) if plan != plans[0]]
    if odd:
        raise CannotRun(
            f"ranks differ in their plan: rank 0 holds job {plans[0]}, rank {odd[0]} job {plans[int(odd[0])]} "
            f"({len(odd)} of {ranks.world} differ). The job file must be the same on every node: see that the run's "
            "folder is on a disk that all nodes share."
        )


def _report_when_told_to_end(progress: _Progress) -> None:
    """A thread waits for SIGTERM: the main thread may be inside a collective that never returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        progress.report("ended", "told to end (SIGTERM)")
        os._exit(143)

    threading.Thread(target=wait, daemon=True, name="sigterm").start()


class _Launch:
    """The visits of one launch on one rank."""

    def __init__(self, job: Job, platform: Platform, progress: _Progress) -> None:
        self._job, self._platform, self._progress = job, platform, progress
        self._benchmarks = registry.load(job.modules)
        self._held: dict[int, Record] = {}
        self._speaks = platform.ranks.rank == 0
        self._provenance = ""
        self._told: tuple[str, ...] = ()  # notes that the provenance holds for all records

    def run(self) -> None:
        if self._speaks:
            held = provenance(self._job, self._platform)
            self._provenance, self._told = held.id, held.notes
            self._say(Started(held))
        budget = Budget(self._job.budget, self._platform.meter.now)
        order = visits(
            len(self._job.cells), self._job.seed + self._job.launch, budget, self._job.policy, self._widest
        )  # fmt: skip
        for visit in order:
            self._progress.cell = visit.cell
            self._say(Began(visit.cell, visit.passing))
            self._held[visit.cell] = self._visit(visit)
            self._say(Measured(visit.cell, self._held[visit.cell]))

    def _visit(self, visit: Visit) -> Record:
        cell, begin = self._job.cells[visit.cell], time.perf_counter()
        self._platform.telemetry()
        outcome, measurements = self._measure(cell, visit)
        held = self._held.get(visit.cell)
        if held is not None and isinstance(outcome, Ok):
            measurements = joined(held.measurements, measurements)
        return Record(
            schema=SCHEMA,
            benchmark=cell.benchmark,
            version=cell.version,
            params=cell.params,
            launch=self._job.launch,
            outcome=outcome,
            measurements=measurements,
            telemetry=self._platform.telemetry(),
            provenance=self._provenance,
            seconds=time.perf_counter() - begin + (held.seconds if held else 0.0),
            notes=tuple(note for note in self._platform.notices() if note not in self._told),
        )

    def _measure(self, cell: Planned, visit: Visit) -> tuple[Outcome, tuple[Measurement, ...]]:
        """The benchmark's result. All ranks give up a cell together: one that cannot start it says so
        in `Context.ready`, a wrong answer is agreed on by the meter. Any other fault ends the launch
        where ranks depend on each other, and only the cell where there is one."""
        platform = self._platform
        context = Context(
            platform.accelerator, platform.ranks, platform.meter, visit.policy, platform.arena, self._job.seed,
            self._job.ranks_per_node, Path(self._job.scratch) if self._job.scratch else None, self._tell,
            kept_folder(self._job.kept, cell, self._job.launch) if self._job.kept else None, self._job.launch,
        )  # fmt: skip
        try:
            benchmark = registry.find(cell.benchmark, self._benchmarks)
            params = msgspec.convert(cell.params, benchmark.params)
            return Ok(), tuple(benchmark.run(context, params))
        except Skip as reason:
            return Skipped(context.all_skip(reason)), ()
        except WrongAnswer as fault:
            return Failed(f"wrong answer: {fault}"), ()
        except Exception as error:
            if platform.ranks.world > 1:
                raise
            traceback.print_exc()
            return Failed(f"{type(error).__name__}: {error}"), ()

    def _widest(self) -> int | None:
        """The cell whose interval is furthest from what was wanted, if any is; the same on all ranks."""
        policy, worst, chosen = self._job.policy, 1.0, None
        for index, record in self._held.items():
            for measurement in record.measurements:
                width, wanted = measurement.evidence.width, policy.wanted(median(measurement.samples))
                if width is not None and width / wanted > worst and len(measurement.samples) < policy.maximum:
                    worst, chosen = width / wanted, index
        return chosen

    def _tell(self, text: str) -> None:
        self._say(Said(text))

    def _say(self, event: Event) -> None:
        if self._speaks:
            append_line(self._progress.folder / RESULTS_FILE, msgspec.json.encode(event))


if __name__ == "__main__":
    sys.exit(main())
