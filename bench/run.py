"""`bench run`: plan, refuse or measure, store, report."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import msgspec

from bench import dry_run, parameters, plan, quantities, scratch, suites
from bench.execute import Ending, Execution
from bench.output import emit
from bench.plan import Plan
from bench.progress import Live, Plain, Progress, Silent
from bench.show import headline
from harness import store, summary
from harness.errors import BenchError, CannotRun, UsageError
from harness.provenance import now
from harness.records import SCHEMA, Failed
from harness.store import RunInfo, Store
from harness.units import parse_duration

EXIT = {"complete": 0, "partial": 0, "incomplete": 3, "interrupted": 3}
FOUND_WANTING = 1  # a cell failed: its result was wrong, or it could not be carried out
MOST_LAUNCHES = 10_000  # more than a day of start-ups
SEEDS = 2**31  # from 0; a launch and a rank are added, and every generator takes the sum


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when measured as asked (or as far as the budget went), 1 when a cell failed, 3 when
    the run broke off."""
    asked = _resumed(args) if args.resume else _asked(args)
    if args.dry_run:
        return dry_run.print_plan(asked, args.json, _budget(args, asked), args.simulate)
    if not args.simulate:
        refuse_other_hardware(asked)
        scratch.check(args.scratch)
    held = _open(args, asked)
    info = store.read_info(held.path)
    ending, problems = _execute(args, asked, held, info)
    held.close()
    return _tell(args, held.path, ending, problems)


def _asked(args: argparse.Namespace) -> Plan:
    from clusters import definition

    suite = suites.load(args.suite)
    if args.seed is not None:
        _check_range("--seed", args.seed, 0, SEEDS - 1)
    if args.launches is not None:
        _check_range("--launches", args.launches, 1, MOST_LAUNCHES)
        suite = msgspec.structs.replace(suite, launches=args.launches)
    settings = parameters.parse_settings(args.set)
    return plan.make(suite, definition.load(args.cluster), args.only, settings)


def _check_range(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{option} {value}: a whole number, at least {least} and at most {most}")


def _resumed(args: argparse.Namespace) -> Plan:
    info = store.read_info(Path(args.resume))
    args.simulate = info.simulated
    suite = msgspec.structs.replace(suites.load(info.suite), launches=info.launches)
    asked = plan.of_cells(suite, info.cluster, info.cells)
    for cell in info.cells:
        now_version = asked.benchmarks[cell.benchmark].version
        if cell.version != now_version:
            raise UsageError(
                f"{args.resume}: {cell.benchmark} was version {cell.version} and is {now_version} now: their numbers "
                "cannot be mixed. Start a new run."
            )
        parameters.complete(asked.benchmarks[cell.benchmark], cell.params)
    return asked


def _budget(args: argparse.Namespace, asked: Plan) -> float | None:
    if args.budget is None:
        return plan.budget(asked)
    if args.budget == "none":
        return None
    try:
        return parse_duration(args.budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}, or 'none'") from error


def refuse_other_hardware(asked: Plan) -> None:
    """Declared and detected hardware must agree before anything is measured (METHOD 18)."""
    from clusters import accelerators, matching

    kind = accelerators.detect()
    matching.check(asked.cluster, accelerators.create(kind).found(), kind)


def _open(args: argparse.Namespace, asked: Plan) -> Store:
    """The store to write to: an earlier run's, or a new one."""
    if args.resume:
        return Store(Path(args.resume))
    info = RunInfo(
        schema=SCHEMA,
        id=store.new_id(asked.suite.name, asked.cluster.name),
        created=now(),
        command=("bench", *sys.argv[1:]),
        suite=asked.suite.name,
        cluster=asked.cluster,
        simulated=args.simulate,
        seed=secrets.randbelow(SEEDS) if args.seed is None else args.seed,
        launches=asked.suite.launches,
        budget=_budget(args, asked),
        cells=asked.cells,
    )
    return Store.create(Path(args.out), info)


def _execute(
    args: argparse.Namespace, asked: Plan, held: Store, info: RunInfo
) -> tuple[Ending | str, list[str]]:  # fmt: skip
    finished = frozenset(store.read(held.path).finished)
    budget = info.budget if args.budget is None else _budget(args, asked)
    total = len(asked.cells) * asked.suite.launches - len(finished)
    if not args.json:
        print(f"{asked.cluster.title}: {total} cells to measure, into {held.path}", file=sys.stderr)
    with ExitStack() as stack:
        progress = _progress(args.json, total, budget, asked, stack)
        execution = Execution(
            asked, held, progress, info.seed, ("bench", *sys.argv[1:]), info.simulated, finished, budget, args.scratch
        )  # fmt: skip
        stack.enter_context(_Termination())
        try:
            return execution.run(), execution.problems
        except KeyboardInterrupt:
            return "interrupted", execution.problems


def _progress(silent: bool, cells: int, budget: float | None, asked: Plan, stack: ExitStack) -> Progress:
    if silent:
        return Silent()
    rates = {name: benchmark.rate for name, benchmark in asked.benchmarks.items()}
    return stack.enter_context(Live(cells, budget, rates)) if sys.stderr.isatty() else Plain(cells, budget, rates)


class _Termination:
    """SIGTERM (a scheduler's warning) ends the run as an interrupt does: all that is measured is kept."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


def _tell(args: argparse.Namespace, path: Path, ending: str, problems: list[str]) -> int:
    """Report, summary and what to do next."""
    read = store.read(path)
    cells = summary.cells(read.records)
    reports, trouble = ([], "") if args.no_report or not cells else _report(path)
    document = {
        "run": str(path),
        "outcome": ending,
        "records": quantities.described(cells),
        "reports": [str(report) for report in reports],
        "problems": [*problems, *read.problems, *([trouble] if trouble else [])],
    }
    missing = len(read.info.cells) * read.info.launches - len(read.finished)
    lines = [headline(read), *(f"problem: {problem}" for problem in document["problems"])]
    if missing:
        lines.append(f"{ending}: {missing} cells are not measured; continue with `bench run --resume {path}`")
    lines += [f"report: {report}" for report in reports]
    emit(args.json, document, "\n".join(line for line in lines if line))
    failed = any(isinstance(outcome, Failed) for cell in cells for outcome in cell.outcomes)
    return EXIT[ending] or (FOUND_WANTING if failed else 0)


def _report(path: Path) -> tuple[list[Path], str]:
    """Reports of the run; what is measured is safe, so a report that fails is told, not raised."""
    from bench.report import FORMATS, write

    try:
        return write([path], FORMATS, path), ""
    except CannotRun as error:
        return sorted(path.glob("report.*")), str(error)
    except BenchError as error:
        return [], str(error)
