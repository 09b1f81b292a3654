"""Rank 0 runs the vendor's program for one cell; every rank waits for it and learns what came of it."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from clusters.nccl_tests import programs, read
from clusters.nccl_tests.programs import ITERATIONS, Offers
from clusters.nccl_tests.rows import Row, Table
from harness.errors import CannotRun, Skip, UsageError, WrongAnswer
from harness.ranks import Ranks
from harness.units import show_size

LIMIT = 90.0  # s for one cell: less than the silence after which a launch is taken to hang
ASKED = 20.0  # s for --help
STARTS = 3  # where a program cannot repeat its sizes by itself
BEAT = 0.5  # s between two looks of all ranks at whether rank 0 is done
KINDS = (Skip, WrongAnswer, CannotRun)


@dataclass(frozen=True)
class Cell:
    """What the program is asked for: size in B, on the first `ranks` devices of this node."""

    size: int
    ranks: int
    dtype: str
    in_place: bool


@dataclass(frozen=True)
class Found:
    """Times of one cell, s; rows' own size, B; what made them, in words."""

    times: tuple[float, ...]
    size: int
    program: str


def attended(ranks: Ranks, path: Path | None, cell: Cell) -> Found | Exception | None:
    """What rank 0's program gives or why it gives nothing, once all ranks have waited for its end. They
    agree every BEAT, so that no rank's patience ends before the program does."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future: Future[Found] | None = None if path is None else pool.submit(measured, path, cell)
        while not ranks.agree(float(future is not None and _done(future))):
            continue
    if future is None:
        return None
    error = future.exception()
    assert error is None or isinstance(error, Exception)
    return error or future.result()


def _done(future: Future[Found]) -> bool:
    return bool(wait([future], BEAT).done)


def agreed(ranks: Ranks, found: Found | Exception | None) -> Found:
    """The same on every rank: rank 0's times, or its reason raised on all of them."""
    kind, said = -1, ""
    if isinstance(found, Exception):
        kind = next((index for index, one in enumerate(KINDS) if isinstance(found, one)), KINDS.index(CannotRun))
        said = str(found) if isinstance(found, KINDS) else f"{type(found).__name__}: {found}"
    kind, heard = int(ranks.agree(kind)), ranks.words(said)[0]
    if kind >= 0:
        raise KINDS[kind](said or heard)
    mine = found if isinstance(found, Found) else Found((), 0, "")
    count, size = int(ranks.agree(len(mine.times))), int(ranks.agree(mine.size))
    return Found(tuple(ranks.maximum(mine.times or [0.0] * count)), size, mine.program)


def measured(path: Path, cell: Cell, limit: float = LIMIT) -> Found:
    """Run the program at `path` for one cell. Skip where it does not start or cannot measure the size,
    WrongAnswer where its own check fails, CannotRun where it fails or takes more than `limit` s."""
    begin, rows, said = time.monotonic(), list[Row](), ""
    with TemporaryDirectory(prefix="bench-nccl-tests-") as folder:
        can = _asked(path, Path(folder))
        for start in range(1 if can.cycles else STARTS):
            spent = time.monotonic() - begin
            if start and spent * (start + 1) / start > limit:
                break
            table = _one(path, can, cell, Path(folder) / str(start), limit - spent)
            rows += [row for row in table.rows if row.in_place == cell.in_place and row.time is not None]
            said = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    if not rows:
        raise CannotRun(f"{path.name} gave no time for {show_size(cell.size)}")
    if not rows[0].size:
        raise Skip(f"{path.name} rounds {cell.size} B over {cell.ranks} ranks down to nothing")
    return Found(
        tuple(row.time for row in rows if row.time is not None),
        rows[0].size,
        f"{path} ({said or 'it does not tell its version'}): {ITERATIONS} operations a sample, timed by itself",
    )


def _asked(path: Path, folder: Path) -> Offers:
    """What the program can, by its --help; Skip where it does not even start."""
    try:
        with programs.started((str(path), "--help"), folder / "help.txt") as running:
            ended = running.ended(ASKED)
            can, said = programs.offers(running.text), programs.last_lines(running.text)
    except OSError as error:
        raise Skip(f"{path} cannot be started: {error.strerror}") from error
    if can is None or not ended:
        raise Skip(f"{path} --help is not that of a program of nccl-tests; it said: {said}")
    return can


def _one(path: Path, can: Offers, cell: Cell, stem: Path, limit: float) -> Table:
    """One start of the program; its table, from its JSON where there is one."""
    report = stem.with_suffix(".json")
    argv = programs.command(path, can, cell.size, cell.dtype, cell.ranks, report)
    with programs.started(argv, stem.with_suffix(".txt")) as running:
        ended = running.ended(limit)
        status, text = running.status, running.text
    said = f"it said: {programs.last_lines(text)}"
    if programs.REDUCED in text:
        raise Skip(f"{path.name} has too little device memory for {show_size(cell.size)} beside what the ranks hold")
    if not ended:
        raise CannotRun(f"{path.name} did not end within {limit:.0f} s; {said}")
    try:
        table = read(text, path.name).tables[0]
    except UsageError as error:
        raise CannotRun(f"{path.name} ended with status {status} and no result; {said}") from error
    with suppress(OSError, UsageError):  # of another layout than is known: the table has fewer digits, no less
        table = replace(table, rows=read(report.read_text(errors="replace"), report.name).tables[0].rows)
    if wrong := [row for row in table.rows if row.wrong and row.in_place == cell.in_place]:
        raise WrongAnswer(f"{path.name} counts {wrong[0].wrong} wrong values at {wrong[0].label}")
    if status:
        raise CannotRun(f"{path.name} ended with status {status}; {said}")
    if table.ranks not in (None, cell.ranks):
        raise CannotRun(f"{path.name} ran on {table.ranks} ranks, and {cell.ranks} were asked for")
    return table
