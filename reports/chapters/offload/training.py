"""Training under ZeRO: what a step is made of, memory against the formulas, efficiency predicted and measured, and the
largest model that fits."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from harness.units import Unit, show_size
from reports.chapters.offload import efficiency, fits, room
from reports.chapters.offload.cells import AHEAD, NONE, TIERS, among, number, setting, short
from reports.figures.stacked import Bar, stacked
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import GAP, plain
from reports.reading import grouped, member
from reports.subject import Subject, how_known, interval_title
from reports.text import sentence

PARTS = {
    "forward": "forward", "backward": "backward", "optimizer": "Adam", "swap in": "swap in", "swap out": "swap out",
    "other": "other",
}  # fmt: skip
BY = ("measured", "formula", "buffers")
PLACES = {"device": "device", "host": "host", "nvme": "NVMe"}


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """Pictures and tables of `offload.training` and `offload.fits`, of whichever there are cells."""
    trained = sorted((c for c in cells if member(c.benchmark) == "training"), key=_order)
    pictures, tables = list[Picture](), list[Table]()
    for name, those in grouped(trained, lambda cell: setting(cell.params)).items():
        pictures.append(_picture(subject, name, those))
        tables += [
            _steps(subject, name, those),
            _memory(subject, name, those),
            *efficiency.tables(subject, name, those),
        ]
    sought = [c for c in cells if member(c.benchmark) == "fits"]
    return pictures, [*tables, *fits.tables(subject, sought), *(room.tables(subject) if trained or sought else [])]


def _order(cell: Cell) -> tuple[str, ...]:
    tiers = (str(cell.params.get(what)) for what in AHEAD)
    places = [str(TIERS.index(tier)) if tier in TIERS else "9" for tier in tiers]
    return setting(cell.params), str(cell.params.get("stage")), *places


def _picture(subject: Subject, name: str, cells: Sequence[Cell]) -> Picture:
    bars = []
    for cell in cells:
        found = {said: among(cell, "part", part=part) for part, said in PARTS.items()}
        parts = {said: figure.interval.value for said, figure in found.items() if figure}
        whole = cell.figure("step")
        bars.append(Bar(short(cell.params), parts, whole.interval.value if whole else sum(parts.values())))
    alt = f"Parts of a training step of {name}: " + "; ".join(
        f"{bar.label} {plain(bar.whole, Unit.SECOND)}: "
        + ", ".join(f"{part} {plain(size, Unit.SECOND)}" for part, size in bar.parts.items() if size)
        for bar in bars
    )
    identifier = subject.identifier(f"offload-step-{name}")
    caption = (
        f"What a training step is made of: {name}. Medians of each part; the number is the whole step's, at whose side "
        "the optimizer's tier is named before the parameters'. Swaps count where the step stands still for them: "
        "what the disk does meanwhile is in no part. Other: gradients that are shared out, scaled and copied."
    )
    return Picture(identifier, stacked(identifier, alt, bars, list(PARTS.values()), "a step"), caption, alt)


def _steps(subject: Subject, name: str, cells: Sequence[Cell]) -> Table:
    rows = []
    for cell in cells:
        parts = [among(cell, "part", part=part) for part in PARTS]
        texts = [Text(plain(f.interval.value, f.unit)) if f and f.interval.value > 0 else NONE for f in parts]
        rows.append((Text(short(cell.params)), number(cell.figure("tokens")), number(cell.figure("step")), *texts))
    columns = (
        Column("Stage, tiers", share=19), Column("Tokens", numeric=True, share=15),
        Column("Step", numeric=True, share=15),
        *(Column(said.capitalize(), numeric=True, share=8.5) for said in PARTS.values()),
    )  # fmt: skip
    figures = [figure for cell in cells if (figure := cell.figure("step"))]
    caption = (
        f"A training step with DeepSpeed: {name}. Tiers: where the optimizer's states lie + where parameters do. "
        f"{interval_title(figures)} below tokens and step. {sentence(how_known(figures))}"
    )
    return Table(subject.identifier(f"offload-steps-{name}"), caption, columns, (Group("", tuple(rows)),), dense=True)


def _memory(subject: Subject, name: str, cells: Sequence[Cell]) -> Table:
    rows = []
    for cell in cells:
        for tier, said in PLACES.items():
            found, formula, whole = (among(cell, "memory", tier=tier, by=by) for by in BY)
            if found is None or formula is None:
                continue
            whole = whole or formula
            ratio = found.interval.value / whole.interval.value if whole.interval.value else 0.0
            rows.append(
                (Text(short(cell.params)), Text(said), *(_size(f) for f in (found, formula, whole)),
                 Text(f"{ratio:.2f}") if ratio else NONE)
            )  # fmt: skip
    columns = (
        Column("Stage, tiers", share=24), Column("Tier", share=12), Column("Measured", numeric=True, share=17),
        Column("Formula (modelled)", numeric=True, share=17), Column("With buffers (modelled)", numeric=True, share=17),
        Column("Measured over it", numeric=True, share=13),
    )  # fmt: skip
    caption = (
        f"Memory by tier, all ranks of the host: {name}. Measured: greatest resident memory of a step beyond that "
        "before the model was built, allocated memory of a device, bytes in the swap folder. Formula: model states by "
        "ZeRO and ZeRO-Infinity, the largest piece at work, and activations with a checkpoint a layer; where the "
        "device is the host's processors, its share lies in the host's memory. With buffers: and what DeepSpeed is "
        "configured to set aside for tensors on their way. Second copies (float32 has a master copy too) and what the "
        "allocator keeps are beyond it."
    )
    return Table(subject.identifier(f"offload-memory-{name}"), caption, columns, (Group("", tuple(rows)),))


def _size(figure: Figure) -> Text:
    return Text(show_size(figure.interval.value).replace(" ", GAP)) if figure.interval.value else NONE
