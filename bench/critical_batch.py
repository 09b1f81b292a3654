"""What a report is told of the critical batch: the fit of a run's training runs, joined to its own step times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.cbs_runs import ENDS, of_cells
from costmodels import batch_plan, critical_batch
from costmodels.batch_plan import RETURN, BatchPlan
from costmodels.batch_times import StepTime
from costmodels.critical_batch import CriticalBatch
from costmodels.critical_batch_points import Run as Trained
from harness import models
from harness.errors import BenchError
from harness.records import Params
from harness.store import Run
from harness.summary import Cell, cells
from reports.critical_batch_model import Choice, CriticalBatchModel, Ended, Fitted, PlanModel, Point, Width

CBS, TIMED = "e2e.cbs", ("e2e.mfu", "e2e.scaling")
FREE = ("batch", "micro_batch", "ranks", "seconds", "mode")  # in which the jobs of one system differ
POINTS, REACH = 49, 2.0  # a curve goes from the smallest batch over REACH to the largest times REACH
FEWEST = 2  # step times that make a plan


def critical_batches(run: Run) -> tuple[CriticalBatchModel, ...]:
    """A model of every cell of `e2e.cbs` that has runs."""
    every = cells(run.records)
    return tuple(
        _model(cell, group.target, group.runs, every)
        for cell in every if cell.benchmark == CBS for group in of_cells([cell])
    )  # fmt: skip


def _model(cell: Cell, target: str, runs: Sequence[Trained], every: Sequence[Cell]) -> CriticalBatchModel:
    unit = "rows" if cell.params.get("task") == "least_squares" else "sequences"
    try:
        found = critical_batch.fit(runs)
    except ValueError as error:
        points = tuple(Point(run.batch, run.steps, _ended(run)) for run in runs)
        return CriticalBatchModel(cell.params, target, unit, points, None, str(error), (), "", *_tuned(cell))
    points = tuple(
        Point(run.batch, run.steps, "outlier" if at in found.outliers else _ended(run)) for at, run in enumerate(runs)
    )
    plans, unjoined = joined(cell, found, every)
    return CriticalBatchModel(cell.params, target, unit, points, _fitted(found), "", plans, unjoined, *_tuned(cell))


def _ended(run: Trained) -> Ended:
    return "diverged" if run.diverged else "reached" if run.reached else "censored"


def _tuned(cell: Cell) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, tuple[str, ...]], ...]]:
    """Of each batch the learning rate of the measured runs, and their flags."""
    rates, flags = dict[float, float](), dict[float, dict[str, None]]()
    for figure in cell.figures:
        size, rate = figure.own.get("batch"), figure.own.get("learning_rate")
        if figure.name in ENDS and isinstance(size, (int, float)) and isinstance(rate, (int, float)):
            rates[float(size)] = float(rate)
            said = (flag for evidence in figure.evidence for flag in evidence.flags)
            flags.setdefault(float(size), {}).update(dict.fromkeys(said))
    return tuple(rates.items()), tuple((size, tuple(said)) for size, said in flags.items() if said)


def _fitted(found: CriticalBatch) -> Fitted:
    span = REACH * REACH * found.largest / found.smallest
    batches = [found.smallest / REACH * span ** (at / (POINTS - 1)) for at in range(POINTS)]
    return Fitted(
        found.a, found.b, found.b_crit, found.b_star, found.reference, found.chosen, found.overhead,
        tuple((batch, found.steps(batch)) for batch in batches), found.error, found.notes,
    )  # fmt: skip


def joined(cell: Cell, found: CriticalBatch, every: Sequence[Cell]) -> tuple[tuple[PlanModel, ...], str]:
    """A plan for each system that trained the same model on sequences of the same length; or why there is none."""
    name, length = cell.params.get("model"), cell.params.get("sequence")
    if cell.params.get("task") == "least_squares":
        return (), "least squares are no model that a training job of this run has"
    if not name:
        return (), "the task's own small model is none that a training job has: `--set model=NAME` trains one that is"
    systems: dict[str, dict[tuple[float, int], Cell]] = {}
    for job in every:
        placed = _placed(job)
        if placed and _same(job.params, str(name), length):
            systems.setdefault(_system(job.params), {})[placed] = job
    plans = [_plan(system, jobs, found) for system, jobs in systems.items() if len(jobs) >= FEWEST]
    if plans:
        return tuple(plans), ""
    return (), (
        f"{sum(map(len, systems.values()))} step time(s) of {name} on sequences of {length} tokens in this run: a plan "
        f"takes {FEWEST} and more, at several batches and ranks: "
        f"`bench run --only e2e.cbs --only e2e.scaling --set task=text --set model={name} --set sequence={length}`"
    )


def _same(params: Params, name: str, length: object) -> bool:
    """Whether a job trains that model, all its layers, on sequences of that length."""
    if params.get("model") != name or params.get("sequence") != length:
        return False
    try:
        return params.get("layers") == models.load(name).layers
    except BenchError:  # a file that is not here: nothing says how many layers the whole model has
        return False


def _placed(cell: Cell) -> tuple[float, int] | None:
    """Sequences of a step over all ranks, and the ranks; None of another cell. A rank's tokens are its rate times the
    time that it follows from."""
    time, tokens = cell.figure("time"), cell.figure("tokens")
    ranks, length = cell.params.get("ranks"), cell.params.get("sequence")
    if cell.benchmark not in TIMED or time is None or tokens is None:
        return None
    if not isinstance(ranks, int) or not isinstance(length, int) or ranks < 1 or length < 1:
        return None
    return float(round(tokens.interval.value * time.interval.value * ranks / length)), ranks


def _system(params: Params) -> str:
    """What jobs of one system share, in words: all that is not the batch, or how it is cut up."""
    held = {key: value for key, value in params.items() if key not in (*FREE, "model", "layers", "sequence")}
    said = [str(held.pop(key)) for key in ("trainer", "dtype") if key in held]
    usual = (0, 1, False, "none", "default", "adamw")
    return ", ".join(said + [f"{key} {value}" for key, value in held.items() if value not in usual])


def _plan(system: str, jobs: dict[tuple[float, int], Cell], found: CriticalBatch) -> PlanModel:
    times = [
        StepTime(batch, ranks, figure.interval)
        for (batch, ranks), cell in jobs.items() if (figure := cell.figure("time")) is not None
    ]  # fmt: skip
    made = batch_plan.plan(times, found)
    return PlanModel(
        system, _choices(made.choices), _choice(made.fastest), made.fastest_batch, _choice(made.cheapest),
        made.cheapest_batch, _choices(made.pareto), _widths(made), made.worth.devices, RETURN,
        tuple(note for note in made.notes if note not in found.notes),
    )  # fmt: skip


def _choice(one: batch_plan.Choice) -> Choice:
    return Choice(one.batch, one.devices, one.step, one.steps, one.wall, one.device_time, one.beyond)


def _choices(those: Iterable[batch_plan.Choice]) -> tuple[Choice, ...]:
    return tuple(_choice(one) for one in those)


def _widths(made: BatchPlan) -> tuple[Width, ...]:
    return tuple(Width(_choice(one.fastest), one.gain, one.efficiency) for one in made.widths)
