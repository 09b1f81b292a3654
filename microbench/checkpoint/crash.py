"""What is left of checkpoints when a save is killed, the disk fills, or a file is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from harness.errors import CannotRun, Skip, WrongAnswer
from harness.records import Better, Evidence, Measurement, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit
from microbench.checkpoint.engines import DIRECT, EVERY, refuses, usual
from microbench.checkpoint.outcomes import Fault, Outcome, Trial
from microbench.storage.room import opened, require

if TYPE_CHECKING:
    from harness.context import Context
    from microbench.checkpoint.trials import Answer

OURS = "lazy"  # this project's own engine: what it loads wrong without a word is a fault of the project
HELD = 5  # checkpoints on the disk at once, at most
START, PACE = 60.0, 20e6  # s for imports or one world; B/s that a world gets through at least


class CrashParams(Struct, frozen=True):
    """fault: kill (SIGKILL of all ranks at random moments of a save), full (a disk with too little room), truncated
    (a file cut at a random place), flipped (one bit of one file). size: B of state over all ranks. processes: that
    save and load, each a rank: not those of the launch."""

    engine: str = "dcp"
    fault: Fault = "kill"
    trials: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    size: Bytes = 16 * 2**20
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2

    def __post_init__(self) -> None:
        if self.engine not in EVERY:
            raise ValueError(f"engine '{self.engine}' is not known; accepted: {', '.join(EVERY)}")


@benchmark("checkpoint.crash", version=1, params=CrashParams, scope="host", rate="outcomes", seconds=15)
def crash(ctx: Context, params: CrashParams) -> Sequence[Measurement]:
    """Faults under a save, and what a restart then finds: outcomes counted over all trials.

    Runs on the host's processors: what is in the files does not depend on where the state was.
    """
    from harness import children
    from microbench.checkpoint.engines import probe
    from microbench.checkpoint.state import Shape
    from microbench.checkpoint.trials import LINES, Answer, Asked, supervise

    held = require(ctx, HELD * params.size)
    reason = refuses(params.engine, params.processes, "cpu", ctx.scratch)
    if params.engine == DIRECT and params.fault == "full":
        reason = "the disk that fills is a file system in memory, which has no direct I/O"
    if reason is not None:
        raise Skip(reason)
    probe.ensure(ctx, params.engine, "cpu")
    with opened(ctx, "crash") as folder:
        work = folder / "work"
        work.mkdir()
        shape = Shape(params.size, usual(params.engine))
        limit = START + params.size / PACE
        asked = Asked(params.engine, shape, params.fault, params.trials, params.processes, ctx.seed, str(work), limit)
        world = folder / "world"
        (ended,) = children.run(
            children.Work(f"{supervise.__module__}:supervise", asked), world, limit * (2 + 2 * params.trials),
            _counting(ctx.say, world / LINES, params.trials), f"{params.engine}, {params.fault}",
        )  # fmt: skip
    if not ended.ok:
        raise CannotRun(f"the trials could not be carried out: {ended.reason}")
    answer = msgspec.json.decode(ended.result, type=Answer)
    silent = [trial for trial in answer.trials if trial.outcome is Outcome.SILENT]
    if params.engine == OURS and silent:
        raise WrongAnswer(f"{len(silent)} of {len(answer.trials)} trials: {silent[0].detail}")
    return _measurements(ctx, answer, held.words)


def _counting(say: Callable[[str], None], lines: Path, trials: int) -> Callable[[str], None]:
    def tell(text: str) -> None:
        done = lines.read_text().count("\n") if lines.exists() else 0
        say(f"{text}: {done} of {trials} trials")

    return tell


def _measurements(ctx: Context, answer: Answer, disk: str) -> list[Measurement]:
    """A count for each outcome, those that never came too; when kills came, and how long a save takes."""
    counts = Counter(trial.outcome for trial in answer.trials)
    made = []
    for outcome in Outcome:
        examples = [trial.detail for trial in answer.trials if trial.outcome is outcome]
        flags = (f"for example: {examples[0]}",) if examples else ()
        better = Better.HIGHER if outcome is Outcome.NEWEST else Better.LOWER
        made.append(
            Measurement(
                "outcomes", Unit.COUNT, better, (float(counts[outcome]),), ctx.meter.origin,
                evidence=_evidence((*answer.words, *flags, disk)), params={"outcome": outcome.value},
            )
        )  # fmt: skip
    return [*made, *_moments(ctx, answer.trials)]


def _moments(ctx: Context, trials: Sequence[Trial]) -> list[Measurement]:
    moments = tuple(trial.moment for trial in trials if trial.moment is not None)
    saves = tuple(trial.save for trial in trials if trial.save is not None)
    origin, flags = ctx.meter.origin, ("moment of the kill over the duration of the save before it",)
    made = [
        Measurement("moment", Unit.RATIO, Better.HIGHER, moments, origin, evidence=_evidence(flags)),
        Measurement("save", Unit.SECOND, Better.LOWER, saves, origin, evidence=_evidence(())),
    ]
    return [one for one in made if one.samples]


def _evidence(flags: tuple[str, ...]) -> Evidence:
    return Evidence(stopped="all trials done", flags=flags)
