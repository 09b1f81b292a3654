"""Training runs for `bench fit cbs`: out of a table from anyone, or of a run of `e2e.cbs`, in groups of one curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.main import RUNS
from bench.table_input import Aliases, Columns, Row, columns, missing, read
from costmodels.critical_batch_points import LEAST, Run
from harness import store, summary
from harness.errors import UsageError
from harness.records import Origin
from harness.units import Unit

ALIASES: Aliases = {
    "batch": (
        "batch", "batch_size", "bs", "global_batch", "global_batch_size", "gbs", "b", "batch_tokens",
        "batch_size_tokens", "tokens_per_batch", "tokens_per_step", "batch_sequences", "sequences_per_batch",
    ),
    "steps": (
        "steps", "step", "steps_to_target", "n_steps", "num_steps", "iterations", "iters", "iteration", "updates", "s",
    ),
    "samples": (
        "samples", "examples", "sequences", "samples_to_target", "examples_to_target", "tokens_to_target",
        "samples_processed", "examples_processed", "tokens_processed", "e",
    ),
    "seed": ("seed", "replicate", "repeat", "run"),
    "target": ("target", "target_loss", "loss_target", "loss_threshold", "threshold", "goal"),
    "reached": ("reached", "target_reached", "converged", "success", "hit"),
    "censored": ("censored", "not_reached", "unreached", "right_censored"),
    "diverged": ("diverged", "divergence", "failed"),
    "outcome": ("outcome", "status", "state", "ended"),
    "parameters": ("parameters", "n", "params", "n_params", "num_params", "model_params", "model_size", "model"),
    "tokens": ("tokens", "d", "data", "data_size", "dataset_tokens", "training_tokens", "total_tokens", "n_tokens"),
}  # fmt: skip
"""Columns by role. parameters and tokens are the sizes N and D that the runs of one curve share."""

OUTCOMES = {
    "reached": "reached", "ok": "reached", "converged": "reached", "done": "reached", "": "reached",
    "censored": "censored", "not reached": "censored", "unreached": "censored", "limit": "censored",
    "diverged": "diverged", "nan": "diverged", "failed": "diverged",
}  # fmt: skip
ENDS = {"steps": (True, False), "censored": (False, False), "diverged": (False, True)}
"""Metrics of `e2e.cbs`: whether a run reached the target, whether it diverged."""
SHARED = ("target", "parameters", "tokens")  # by the runs of one curve
AGREE = 0.01  # relative: two columns that say the same

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Group:
    """Runs of one curve. target: as it is written. parameters, tokens: N and D, as written."""

    target: str
    parameters: str
    tokens: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        parts = (("target", self.target), ("N", self.parameters), ("D", self.tokens))
        return ", ".join(f"{name} {value}" for name, value in parts if value)


@dataclass(frozen=True)
class Source:
    """unit: of the batch; a plain count where it is not in tokens. notes: how columns were understood."""

    groups: tuple[Group, ...]
    unit: Unit
    origin: Origin
    notes: tuple[str, ...] = ()


def gathered(source: str, mapped: Sequence[str]) -> Source:
    """The runs of a file, or of a run's folder (or its name under ./runs). Raises UsageError."""
    place = next((path for path in (Path(source), Path(RUNS) / source) if store.is_run(path)), None)
    if place is None:
        return _of_table(columns(read(source), ALIASES, mapped))
    held = store.read(place)
    groups = tuple(of_cells(summary.cells(held.records)))
    if not groups:
        raise UsageError(f"{source}: no steps to a target in it: `bench run --only e2e.cbs` measures them")
    origins = {f.origin for cell in summary.cells(held.records) if cell.benchmark == "e2e.cbs" for f in cell.figures}
    return Source(groups, Unit.COUNT, max(origins, key=lambda origin: origin is Origin.MODELLED), tuple(held.problems))


def of_cells(cells: Iterable[summary.Cell]) -> Iterator[Group]:
    """One group for each cell of `e2e.cbs`: its tuned runs, the seeds of all launches."""
    for cell in cells:
        found = [
            Run(float(f.own["batch"]), steps, *ENDS[f.name], name=cell.label, seed=f"{launch}.{number}")  # type: ignore[arg-type]
            for f in cell.figures if cell.benchmark == "e2e.cbs" and f.name in ENDS
            for launch, samples in enumerate(f.samples) for number, steps in enumerate(samples)
        ]  # fmt: skip
        if found:
            target = next(str(f.own.get("target", "")) for f in cell.figures if f.name in ENDS)
            yield Group(target, "", "", tuple(found))


def _of_table(known: Columns) -> Source:
    table = known.table
    if "batch" not in known:
        raise missing(table, "batch", ALIASES)
    if "steps" not in known and "samples" not in known:
        error = str(missing(table, "steps", ALIASES))
        hint = "; or --map 'samples=COLUMN', for steps times batch"
        if "tokens" in known:
            hint += f"; '{known.names['tokens']}' is taken for the training tokens D of a whole curve"
        raise UsageError(error + hint)
    notes, shared = list[str](), list(SHARED)
    if "tokens" in known and _spent(known):
        shared.remove("tokens")
        notes.append(f"'{known.names['tokens']}' is batch times steps in every row: not a size that runs share")
    unit = _unit(known, notes)
    groups: dict[Key, list[Run]] = {}
    for row in table.rows:
        target, parameters, tokens = (known.text(row, role) if role in shared else "" for role in SHARED)
        key = (target, parameters, tokens)
        groups.setdefault(key, []).append(_run(known, row))
    _several(known, groups)
    return Source(tuple(Group(*key, tuple(runs)) for key, runs in groups.items()), unit, Origin.PARSED, tuple(notes))


def _several(known: Columns, groups: dict[Key, list[Run]]) -> None:
    """UsageError where grouping leaves no curve, and the rows together would have been one."""
    if any(len({run.batch for run in runs}) >= LEAST for runs in groups.values()) or len(groups) == 1:
        return
    names = [known.names[role] for role in SHARED if role in known]
    raise UsageError(
        f"{known.table.source}: no curve has {LEAST} batch sizes: the rows fall into {len(groups)} groups by "
        f"{', '.join(names)}. Give each curve its runs at several batch sizes, or leave a column out that is not shared"
    )


def _unit(known: Columns, notes: list[str]) -> Unit:
    batch, samples = known.names["batch"], known.names.get("samples", "")
    if "token" in batch.lower():
        return Unit.TOKEN
    if samples and "steps" not in known and "token" in samples.lower():
        notes.append(f"'{samples}' is taken to be in the unit of '{batch}'")
    return Unit.COUNT


def _spent(known: Columns) -> bool:
    """Whether the tokens are what a run took to the target: batch times steps, but for one factor."""
    ratios = list[float]()
    for row in known.table.rows:
        tokens, batch = (known.number(row, role) if _plain(known, row, role) else None for role in ("tokens", "batch"))
        steps = known.number(row, "steps") if "steps" in known and _plain(known, row, "steps") else None
        if tokens and batch and steps and all(math.isfinite(value) for value in (tokens, batch, steps)):
            ratios.append(tokens / (batch * steps))
    different = {known.text(row, "tokens") for row in known.table.rows}
    return len(ratios) >= LEAST and len(different) >= LEAST and max(ratios) <= min(ratios) * (1 + AGREE)


def _plain(known: Columns, row: Row, role: str) -> bool:
    try:
        return known.number(row, role) is not None
    except UsageError:
        return False


def _run(known: Columns, row: Row) -> Run:
    batch = known.positive(row, "batch")
    if batch is None:
        raise known.error(row, "batch", "accepted is a finite number above 0")
    reached, diverged = _ended(known, row)
    seed = known.text(row, "seed")
    if diverged:
        return Run(batch, math.nan, False, True, row.name, seed)
    role = "steps" if "steps" in known and known.text(row, "steps") else "samples"
    role = role if role in known else "steps"
    steps = known.number(row, role)
    if steps == 0 and reached:
        raise known.error(
            row, role, "the target is reached at step 0: choose one below the loss that training starts at"
        )
    if steps is None or not (math.isfinite(steps) and steps > 0):
        raise known.error(
            row, role, "accepted is a finite number above 0; a run that did not reach the target has its last step and "
            "1 in a column 'censored'; one that diverged has 1 in a column 'diverged'",
        )  # fmt: skip
    return Run(batch, steps / batch if role == "samples" else steps, reached, False, row.name, seed)


def _ended(known: Columns, row: Row) -> tuple[bool, bool]:
    """Whether the run reached the target, whether it diverged."""
    said = known.text(row, "outcome").lower().replace("_", " ")
    if said not in OUTCOMES:
        raise known.error(row, "outcome", "accepted are reached, censored and diverged")
    diverged = OUTCOMES[said] == "diverged" or ("diverged" in known and known.flag(row, "diverged"))
    censored = OUTCOMES[said] == "censored" or ("censored" in known and known.flag(row, "censored"))
    missed = "reached" in known and not known.flag(row, "reached")
    return not (diverged or censored or missed), diverged
