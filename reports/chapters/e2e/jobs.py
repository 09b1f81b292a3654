"""Training jobs as the chapter names them, and what it reads of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import USUAL, Params
from harness.statistics import Interval
from harness.summary import Cell, Figure
from reports.model import Text
from reports.numbers import percent, shown
from reports.reading import grouped, member
from reports.shares import SHORT, Share
from reports.subject import Subject
from reports.text import clean, counted
from reports.utilisation import placed

NONE = Text("–", tone="muted")
DEGREES = (("tensor", "TP"), ("pipeline", "PP"), ("expert", "EP"), ("context", "CP"))
"""Parallelism by the short names that its papers use."""
TRAINERS = ("torch", "deepspeed", "megatron")
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon", "adafactor": "Adafactor"}


@dataclass(frozen=True)
class Job:
    """A cell of a training job with its rates. ranks: of the job; devices: that they are on."""

    cell: Cell
    time: Figure
    tokens: Figure
    ranks: int
    devices: int

    @property
    def sequences(self) -> int:
        """Of one step over all ranks: a rank's tokens are its rate times the time that it follows from."""
        length = self.cell.params.get("sequence")
        tokens = self.tokens.interval.value * self.time.interval.value * self.ranks
        return round(tokens / length) if isinstance(length, int) and length else 0

    def total(self, interval: Interval, over: int = 1) -> Interval:
        """A rank's rate as that of all ranks, divided by `over`."""
        return Interval(*(part * self.ranks / over for part in (interval.value, interval.low, interval.high)))


def jobs(subject: Subject, cells: Sequence[Cell], name: str = "mfu") -> list[Job]:
    """Cells of that benchmark of the family that have a step time and its rate of tokens."""
    found = []
    for cell in cells:
        time, tokens = cell.figure("time"), cell.figure("tokens")
        if member(cell.benchmark) == name and time and tokens:
            found.append(Job(cell, time, tokens, *placed(subject, cell)))
    return sorted(found, key=_order)


def _order(job: Job) -> tuple[str, int, str, str, str]:
    """Trainers as they are known; then type, layout and what is not plain, the plain job first."""
    params = job.cell.params
    trainer = str(params.get("trainer", ""))
    place = TRAINERS.index(trainer) if trainer in TRAINERS else len(TRAINERS)
    return setting(params), place, dtype(params), layout(params, job.ranks), extras(params)


def by_setting(held: Sequence[Job]) -> dict[str, list[Job]]:
    """Jobs that train the same thing, under what that is."""
    return grouped(held, lambda job: setting(job.cell.params))


def model(params: Params) -> str:
    """'tiny of 2 layers'."""
    name = clean(str(params.get("model", "")).rpartition("/")[2])
    return f"{name} of {counted(layers, 'layer')}" if isinstance(layers := params.get("layers"), int) else name


def setting(params: Params) -> str:
    """'tiny of 2 layers, sequences of 128 tokens': what jobs of one group share."""
    return f"{model(params)}, sequences of {params.get('sequence')} tokens"


def layout(params: Params, ranks: int) -> str:
    """'2 ranks, TP 2, ZeRO 1'."""
    said = [counted(ranks, "rank")]
    said += [f"{short} {params[name]}" for name, short in DEGREES if params.get(name, 1) != 1]
    said += ["SP"] if params.get("sequence_parallel") else []
    said += [f"ZeRO {params['stage']}"] if params.get("stage") else []
    return ", ".join(said)


def extras(params: Params) -> str:
    """What differs from a plain job: 'full recomputation, compiled, Muon'."""
    held = {key: params.get(key, usual) for key, usual in USUAL.items()}
    said = []
    if held["optimizer"] != "adamw":
        said.append(OPTIMIZERS.get(str(held["optimizer"]), clean(held["optimizer"])))
    said += [f"{clean(held['recompute'])} recomputation"] if held["recompute"] != "none" else []
    said += ["compiled"] if held["compile"] else []
    said += [f"{clean(held['kernel'])} attention"] if held["kernel"] != "default" else []
    said += [f"states on {clean(params['offload'])}"] if params.get("offload", "none") != "none" else []
    return ", ".join(said)


def dtype(params: Params) -> str:
    name = str(params.get("dtype", ""))
    return SHORT.get(name, clean(name))


def named(job: Job) -> Text:
    """The first column: trainer and data type, its layout below."""
    params = job.cell.params
    below = [layout(params, job.ranks), extras(params), f"batch {job.sequences}"]
    return Text(f"{clean(params.get('trainer', ''))}, {dtype(params)}", ", ".join(part for part in below if part))


def line(job: Job) -> str:
    """A job in one line, for figures and sentences."""
    text = named(job)
    return f"{text.main}, {text.sub}"


def number(interval: Interval, figure: Figure) -> Text:
    """A number of the figure's unit with its interval below, where it has one."""
    found = shown(interval, figure.unit)
    return Text(found.text, found.interval if interval.low != interval.high else "")


def ratio(interval: Interval, mark: str = "") -> Text:
    """A factor as '1.32', its interval below."""
    ends = f"[{interval.low:.2f}, {interval.high:.2f}]" if interval.low != interval.high else ""
    return Text(f"{interval.value:.2f}", ends, mark)


def share(found: Share, mark: str) -> Text:
    """A utilisation with its interval below; n/a where there is none."""
    if found.ratio is None:
        return Text("n/a", mark=mark, tone="muted")
    known = found.interval
    ends = f"[{100 * known.low:.3g}, {100 * known.high:.3g}]" if known and known.low != known.high else ""
    return Text(percent(found.ratio), ends, mark, "alarm" if found.alarm else "")
