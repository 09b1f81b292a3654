"""Model FLOPs utilisation that cannot lie: one rate over three peaks of a device, each with its source.

- the datasheet's dense peak of the job's data type, which devices rarely reach;
- the best rate that this run's own matrix products found on the same device;
- that rate at the clock which the job really had: what is lost beyond it is the software's.

MFU counts the FLOP of the model, HFU also what is computed a second time (Chowdhery et al., PaLM, arXiv 2204.02311,
appendix B). A rate is a device's: where several ranks share one, their sum. What is not known is absent, with the
reason (METHOD 17). Intervals go from the least rate over the greatest peak to the greatest over the least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from harness.records import Record
from harness.statistics import Interval
from harness.summary import Cell, Figure, latest
from harness.units import Unit
from reports.numbers import plain
from reports.reading import best, dtype_of, figures_of, is_cached, ranks_of, say_all
from reports.shares import WRONG, Share, above, compute_roof
from reports.subject import Subject
from reports.text import clean, counted

FINDERS = ("gemm.peak", "gemm.square")
"""Benchmarks whose best rate is the measured peak; a later one only where the earlier were not run."""
MODEL, HARDWARE, EIGHT = "flops", "hardware_flops", "float8_flops"
"""Rates of a job: of the model; with recomputation; of those products that ran in float8, where a trainer says so."""
NAMES = {MODEL: "MFU", HARDWARE: "HFU"}
NARROW, WIDE = "float8", "bfloat16"
"""Data types of a float8 job: of its narrow products, and of all others."""


@dataclass(frozen=True)
class Peak:
    """What one device reaches, FLOP/s. text: where that comes from."""

    rate: Interval
    text: str


@dataclass(frozen=True)
class Utilisation:
    """A job's rate over each peak."""

    datasheet: Share
    measured: Share
    clocked: Share

    @property
    def all(self) -> tuple[Share, Share, Share]:
        return self.datasheet, self.measured, self.clocked

    @property
    def best_known(self) -> Share | None:
        """The first of them that has a number."""
        return next((share for share in self.all if share.ratio is not None), None)


def of_job(subject: Subject, cell: Cell, rate: str = MODEL) -> Utilisation:
    """MFU of a training job, or HFU where `rate` is HARDWARE."""
    figure = cell.figure(rate)
    if figure is None:
        absent = Share(None, f"n/a: the record holds no rate of {clean(rate)}")
        return Utilisation(absent, absent, absent)
    looks: tuple[Callable[[str], Peak | str], ...] = (
        lambda dtype: datasheet(subject, dtype), lambda dtype: measured(subject, dtype),
        lambda dtype: clocked(subject, cell, dtype),
    )  # fmt: skip
    return Utilisation(*(_share(subject, cell, figure, _of_types(cell, figure, look)) for look in looks))


def alarms(subject: Subject) -> tuple[str, ...]:
    """Of every job whose utilisation is above 100 %, both sides with their sources."""
    jobs = [cell for cell in subject.measured if cell.figure(HARDWARE) is not None]
    return tuple(alarm for cell in jobs if (alarm := _alarm(subject, cell)))


def _alarm(subject: Subject, cell: Cell) -> str:
    """The first of a job's: where MFU is above 100 %, so is HFU."""
    found = (share.alarm for rate in (MODEL, HARDWARE) for share in of_job(subject, cell, rate).all)
    return next((alarm for alarm in found if alarm), "")


def per_device(subject: Subject, cell: Cell, rate: Interval) -> Interval:
    """A rank's rate as that of a device: of as many ranks as share it."""
    ranks, devices = placed(subject, cell)
    return Interval(*(part * ranks / devices for part in (rate.value, rate.low, rate.high)))


def placed(subject: Subject, cell: Cell) -> tuple[int, int]:
    """Ranks of a cell, and the devices that they are on. Ranks that each measure by themselves fill all devices."""
    launch = next((subject.run.provenance.get(r.provenance) for r in _records(subject, cell)), None)
    if launch is None or not launch.ranks:
        return max(1, ranks_of(cell.params)), max(1, ranks_of(cell.params))
    together = max(1, round(launch.ranks / max(launch.nodes or 1, 1) / max(subject.cluster.node.devices, 1)))
    ranks = ranks_of(cell.params) or launch.ranks
    return ranks, -(-ranks // together)


def datasheet(subject: Subject, dtype: str) -> Peak | str:
    """The declared dense peak, or why there is none."""
    roof = compute_roof(subject.cluster, dtype)
    if isinstance(roof, str):
        return f"{roof}; a definition with its peaks gives one (`bench clusters probe` writes a start)"
    return Peak(Interval(roof.value, roof.value, roof.value), roof.text)


def measured(subject: Subject, dtype: str) -> Peak | str:
    """The best rate of this run's matrix products in that data type, or why there is none."""
    found = _product(subject, dtype)
    if found is None:
        return (
            f"no matrix product in {clean(dtype)} was timed in this run: "
            f"`bench run --only gemm.peak --only e2e.mfu --set dtype={clean(dtype)}` gives one"
        )
    cell, figure = found
    rate = per_device(subject, cell, figure.interval)
    said = f"{plain(rate.value, Unit.FLOP_PER_SECOND)}: {figure.origin.value} by {cell.benchmark} in this run"
    return Peak(rate, f"{said}, {say_all(figure.params, ('dtype', 'low', 'high', 'step', 'seconds'))}")


def clocked(subject: Subject, job: Cell, dtype: str) -> Peak | str:
    """The measured peak at the clock of the job: scaled by its clock over that of the matrix product."""
    whole, found = measured(subject, dtype), _product(subject, dtype)
    if isinstance(whole, str) or found is None:
        return str(whole)
    here, there = clock(subject, job), clock(subject, found[0])
    missing = [name for name, value in (("the job", here), (found[0].benchmark, there)) if not value]
    if not here or not there:
        return f"no clock was read during {' or '.join(missing)}: `bench doctor` says what telemetry there is here"
    ends = (whole.rate.value, whole.rate.low, whole.rate.high)
    scaled = Interval(*(end * here / there for end in ends))
    said = f"{here / 1e9:.3g} GHz during the job, {there / 1e9:.3g} GHz during that product"
    return Peak(scaled, f"{plain(scaled.value, Unit.FLOP_PER_SECOND)}: {said}; {whole.text}")


def clock(subject: Subject, cell: Cell) -> float | None:
    """Hz: the median over launches of the median that telemetry saw; None where none was read."""
    seen = [record.telemetry["clock"][1] for record in _records(subject, cell) if "clock" in record.telemetry]
    return median(seen) if seen else None


def mixed(parts: Sequence[tuple[float, Peak]]) -> Peak:
    """The peak of work that runs in several data types one after the other: FLOP over the least time that they take
    together, so the harmonic mean. parts: FLOP (or their share), and the peak that they have."""
    total = sum(flops for flops, _ in parts)

    def at(end: str) -> float:
        return total / sum(flops / float(getattr(peak.rate, end)) for flops, peak in parts)

    said = " and ".join(f"{100 * flops / total:.3g} % at {peak.text}" for flops, peak in parts)
    return Peak(Interval(at("value"), at("low"), at("high")), said)


def _of_types(cell: Cell, figure: Figure, look: Callable[[str], Peak | str]) -> Peak | str:
    """The peak for the job's data type; of a float8 job each part at its own."""
    dtype = dtype_of(figure)
    if dtype != NARROW:
        return look(dtype)
    eight = cell.figure(EIGHT)
    if eight is None:
        return "the record does not say which of its FLOP were done in float8, and only those may have its peak"
    narrow, wide = look(NARROW), look(WIDE)
    if isinstance(narrow, str) or isinstance(wide, str):
        return narrow if isinstance(narrow, str) else str(wide)
    part = eight.interval.value / figure.interval.value
    return mixed([(part, narrow), (1 - part, wide)])


def _share(subject: Subject, cell: Cell, figure: Figure, peak: Peak | str) -> Share:
    if isinstance(peak, str):
        return Share(None, f"n/a: {peak}")
    rate, roof = per_device(subject, cell, figure.interval), peak.rate
    ratio = Interval(rate.value / roof.value, rate.low / roof.high, rate.high / roof.low)
    if ratio.value <= 1:
        return Share(ratio.value, peak.text, interval=ratio)
    ranks, devices = placed(subject, cell)
    job = say_all(cell.params, ("seconds", "ranks"))
    said = f"{plain(rate.value, figure.unit)} a device ({figure.origin.value} here, {cell.benchmark}, {job}"
    said += f", {counted(ranks, 'rank')} on {counted(devices, 'device')})" if ranks != devices else ")"
    return Share(ratio.value, peak.text, f"{NAMES[figure.name]} {above(said, peak.text, WRONG)}", ratio)


def _product(subject: Subject, dtype: str) -> tuple[Cell, Figure] | None:
    for benchmark in FINDERS:
        cells = [c for c in subject.measured if c.benchmark == benchmark and not is_cached(c.params)]
        held = [(cell, f) for cell in cells for f in figures_of([cell], "flops") if dtype_of(f) == dtype]
        if held:
            top = best([figure for _, figure in held])
            return next((cell, figure) for cell, figure in held if figure is top)
    return None


def _records(subject: Subject, cell: Cell) -> Iterator[Record]:
    return (
        record for record in latest(subject.run.records)
        if (record.benchmark, record.version, record.params) == (cell.benchmark, cell.version, cell.params)
    )  # fmt: skip
