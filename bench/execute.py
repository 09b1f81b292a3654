"""Carries out a plan: launch by launch, each cell's record stored the moment it is there."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from bench import catalog, scratch, supervise
from bench.plan import Group, Plan
from bench.progress import Progress
from clusters.launchers.torchrun import torchrun
from harness.errors import CannotRun, cause
from harness.files import write_atomically
from harness.job import Began, Event, Job, Measured, Said, Started, read_reports
from harness.records import SCHEMA, Failed, Incomplete, Record
from harness.store import Planned, Store
from harness.units import show_size

Ending = Literal["complete", "partial", "incomplete"]
FULL = 64 * 2**10  # B free: below it a launch that failed is taken to have met a full disk
KEPT = "kept"  # folder of a run for what its cells keep beyond a launch
START_UP = 60.0  # s that ranks may take until the first event, beyond a collective's timeout


@dataclass
class _Launch:
    """What is known of one launch while it runs. cells: those still to be measured in it."""

    group: Group
    number: int
    cells: list[Planned]
    done: set[str] = field(default_factory=set)
    current: int | None = None
    provenance: str = ""


@dataclass
class Execution:
    """Runs a plan into a store. finished: cells of an earlier part of this run, not measured again."""

    plan: Plan
    store: Store
    progress: Progress
    seed: int
    command: tuple[str, ...]
    simulated: bool = False
    finished: frozenset[tuple[str, int]] = frozenset()
    budget: float | None = None
    scratch: str = ""  # folder given for what cells write; empty: the run's own
    problems: list[str] = field(default_factory=list)
    _start_up: float = 5.0  # s from start to the first event; then as the last launch took

    def run(self) -> Ending:
        """All launches, in turn; the time of the budget that is left is shared by cells left."""
        begin, work = time.monotonic(), self._work()
        ending: Ending = "complete"
        for index, launch in enumerate(work):
            share = self._share(begin, work[index:])
            if share is not None and share <= 0:
                return "partial"
            broken = self._launch(launch, share)
            if broken:
                return "incomplete"
            if len(launch.done) < len(launch.cells):
                ending = "partial"
        return ending

    def _work(self) -> list[_Launch]:
        """Launches with something left to measure; replications of all groups follow each other."""
        pairs = itertools.product(range(self.plan.suite.launches), self.plan.groups)
        work = [
            _Launch(group, number, [cell for cell in group.cells if (cell.label, number) not in self.finished])
            for number, group in pairs
        ]
        return [launch for launch in work if launch.cells]

    def _share(self, begin: float, work: Sequence[_Launch]) -> float | None:
        """Seconds of measuring for the next launch: its part, by what its cells take, of what start-ups leave over."""
        if self.budget is None:
            return None
        left = self.budget - (time.monotonic() - begin)
        if left <= 0:
            return 0.0
        left = max(left - self._start_up * len(work), left / 4)
        return left * self.plan.seconds(work[0].cells) / sum(self.plan.seconds(launch.cells) for launch in work)

    def _launch(self, launch: _Launch, budget: float | None) -> bool:
        """One launch, started again without the cell that broke it, as long as every rank can say
        what went wrong. True where ranks went missing: then the machine is not to be trusted."""
        end = None if budget is None else time.monotonic() + budget
        for attempt in itertools.count():
            left = [cell for cell in launch.cells if cell.label not in launch.done]
            if not left or (end is not None and time.monotonic() >= end and attempt):
                return False
            folder = self._folder(launch)
            job = self._job(launch, left, None if end is None else max(0.1, end - time.monotonic()))
            ended = self._attempt(launch, job, folder)
            if not ended:
                return False
            if self._explain(launch, job, folder, ended):
                return True
        return False

    def _folder(self, launch: _Launch) -> Path:
        """A folder of its own for each start; a resumed run finds those of the earlier part."""
        stem = self.store.path / "logs" / f"launch-{launch.number}-{launch.group.name}"
        return next(path for n in itertools.count() if not (path := stem.with_name(f"{stem.name}-{n}")).exists())

    def _attempt(self, launch: _Launch, job: Job, folder: Path) -> str:
        """Start one process tree and store what it measures; '' or why it ended early."""
        argv, environment = start(job, folder)
        if job.nodes > 1 and not self.simulated:
            raise CannotRun(
                f"{job.cluster.name} has {job.nodes} nodes, and this version starts ranks on one node only. Measure "
                "one node with a definition that says nodes = 1, or use --dry-run or --simulate for all of them."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "job.json", msgspec.json.format(msgspec.json.encode(job), indent=1))
        launch.current = None
        begin = time.monotonic()

        def handle(event: Event) -> None:
            match event:
                case Started(provenance):
                    self._start_up = time.monotonic() - begin
                    launch.provenance = provenance.id
                    self.store.append(provenance)
                case Began(cell, passing):
                    launch.current = cell
                    self.progress.began(job.cells[cell], launch.number, passing)
                case Said(text):
                    self.progress.said(text)
                case Measured(cell, record):
                    launch.current = None
                    launch.done.add(job.cells[cell].label)
                    self.store.append(record)
                    self.progress.measured(record)

        silence = job.timeout + START_UP + 4 * job.policy.cap
        with scratch.made(job.scratch):
            return supervise.run(argv, environment, job, folder, silence, handle)

    def _explain(self, launch: _Launch, job: Job, folder: Path, ended: str) -> bool:
        """Record why a launch ended early; True where the run must stop."""
        self._refuse_full_disk()
        reports = read_reports(folder)
        missing = tuple(rank for rank in range(job.world) if rank not in reports)
        failed = [report for report in reports.values() if report.status == "failed"]
        reason = cause(f"rank {one.rank} on {one.host}: {one.reason}" for one in failed) or ended
        if launch.current is None:
            log = folder / "output.log"
            raise CannotRun(f"no cell could be started: {reason}. The end of {log}:\n{supervise.last_lines(log)}")
        cell = job.cells[launch.current]
        hung = not failed  # every rank was told to end, and none knew why
        outcome: Failed | Incomplete = Failed(reason)
        if missing or hung:
            named = f"ranks that left no report: {', '.join(map(str, missing))}" if missing else "all ranks were ended"
            outcome = Incomplete(f"{named}; {reason}", missing)
        record = Record(
            schema=SCHEMA,
            benchmark=cell.benchmark,
            version=cell.version,
            params=cell.params,
            launch=launch.number,
            outcome=outcome,
            provenance=launch.provenance,
        )
        self.store.append(record)
        self.progress.measured(record)
        self.problems.append(f"{cell.label}: {outcome.reason}")
        launch.done.add(cell.label)
        return isinstance(outcome, Incomplete)

    def _refuse_full_disk(self) -> None:
        """Ranks write to the same disk, and one that finds it full cannot even say so."""
        free = shutil.disk_usage(self.store.path).free
        if free < FULL:
            raise CannotRun(
                f"No space left for {self.store.path} ({show_size(free)} free). Every earlier record is intact; free "
                f"some space, then continue with `bench run --resume {self.store.path}`."
            )

    def _job(self, launch: _Launch, cells: list[Planned], budget: float | None) -> Job:
        suite, cluster, world = self.plan.suite, self.plan.cluster, launch.group.world
        return Job(
            run=self.store.path.name,
            launch=launch.number,
            modules=catalog.modules(),
            platform="clusters.platforms:simulated" if self.simulated else "clusters.platforms:real",
            accelerator=cluster.accelerator,
            cluster=cluster,
            cells=tuple(cells),
            seed=self.seed,
            policy=suite.policy,
            nodes=world.nodes,
            ranks_per_node=world.ranks_per_node,
            threads=world.threads,
            timeout=suite.timeout,
            command=self.command,
            budget=None if self.simulated else budget,
            timing="costmodels.datasheet:timing" if self.simulated else "",
            assumptions="costmodels.datasheet:assumptions" if self.simulated else "",
            scratch="" if self.simulated else str(scratch.of_run(self.store.path, self.scratch)),
            kept="" if self.simulated else str(self.store.path.resolve() / KEPT),
        )


def start(job: Job, folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Argument vector and environment of a launch. A world of one rank, or a simulated one, needs no
    launcher: the worker is started by itself. What torch caches goes where cells write."""
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(Path(job.scratch) / "inductor")} if job.scratch else {}
    launch = torchrun(
        folder / "job.json", folder, nodes=job.nodes, ranks_per_node=job.ranks_per_node, threads=job.threads,
        python=sys.executable, environment=kept | job.cluster.launch.variables,
    )  # fmt: skip
    if job.world > 1 and not job.timing:
        return launch.argv, launch.environment
    argv = (sys.executable, "-m", "harness.worker", "--job", str(folder / "job.json"), "--out", str(folder))
    return argv, launch.environment
