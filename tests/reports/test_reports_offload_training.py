"""The chapter on training under ZeRO: measured and modelled side by side, each labelled; nothing that is not known."""

from __future__ import annotations

import msgspec
import reports_synthetic as synthetic
from msgspec import structs

from harness.hardware import Node, Peak, Storage
from harness.records import Better, Evidence, Measurement, Ok, Origin, Params, Record
from harness.units import Unit
from microbench.offload import zero_results
from microbench.offload.training import TrainingParams
from microbench.offload.zero_asked import Moved, Replay, Step, Told
from reports.chapters.offload import training
from reports.chapters.offload.room import tables as room_tables
from reports.model import Table
from reports.subject import Subject


def cell(optimizer: str, parameters: str) -> Record:
    """A cell whose step takes 4 s, of which swaps take 0.5, and 3.5 s in memory."""
    params = TrainingParams(3, optimizer, parameters)
    swaps = (Moved("step", "read", 10**9, 0.3), Moved("step", "write", 10**9, 0.2)) if optimizer == "nvme" else ()
    steps = tuple(Step(1.0, 2.0, 1.0, 0.4, 5.0, swaps) for _ in range(6))
    offloads = optimizer != "none"
    told = Told(
        parameters=1, steps=steps, base=(Step(1.0, 2.0, 0.5, 0.4, 5.0),) * 12 if offloads else (),
        replays=(Replay(0.6, 0.4, 0.0),) * 6 if swaps else (), memory={"host": 2**30}, device="cpu",
    )  # fmt: skip
    found = zero_results.measurements(params, [told], Origin.MEASURED, ())
    return synthetic.record("offload.training", msgspec.structs.asdict(params), Ok(), found)


def fitted() -> Record:
    params: Params = {"memory": 2**30, "stage": 3, "optimizer": "nvme", "parameters": "none", "model": "tiny"}

    def one(metric: str, by: str, value: float) -> Measurement:
        origin = Origin.MEASURED if by == "search" else Origin.MODELLED
        return Measurement(metric, Unit.COUNT, Better.HIGHER, (value,), origin, None, (), Evidence(), {"by": by})

    counts = [one("largest", by, n * 1e6) for by, n in (("search", 30), ("formula", 300), ("buffers", 60))]
    layers = [one("layers", by, n) for by, n in (("search", 3), ("formula", 30), ("buffers", 6))]
    return synthetic.record("offload.fits", params, Ok(), [*counts, *layers])


def subject(*records: Record, node: Node | None = None) -> Subject:
    held = synthetic.local()
    cluster = structs.replace(held.info.cluster, node=node or held.info.cluster.node)
    info = structs.replace(held.info, cluster=cluster)
    return Subject(synthetic.run(info, records, next(iter(held.provenance.values()))), "run")


def text(table: Table) -> list[list[str]]:
    return [[held.main.replace("\xa0", " ") for held in row] for group in table.groups for row in group.rows]


def test_each_way_has_its_row_and_predicted_stands_beside_measured() -> None:
    about = subject(cell("none", "none"), cell("nvme", "none"), cell("cpu", "none"))
    pictures, tables = training.sections(about, about.measured)
    by = {table.identifier.removeprefix("run-offload-").split("-")[0]: table for table in tables}
    assert [row[0] for row in text(by["steps"])] == ["stage 3", "stage 3, host + –", "stage 3, NVMe + –"]
    efficiency = {row[0]: row[1:] for row in text(by["efficiency"])}
    assert efficiency["stage 3, NVMe + –"][:4] == ["1.67 GB/s", "2.50 GB/s", "87.5 %", "77.8 %"]
    assert efficiency["stage 3, NVMe + –"][4] == "-11 %"
    assert efficiency["stage 3, host + –"] == ["–", "–", "87.5 %", "–", "–", "–"], (
        "nothing is predicted without traffic"
    )
    assert "stage 3" not in efficiency, "what offloads nothing has no efficiency of offloading"
    assert all("modelled" in column.title for column in by["efficiency"].columns[4:7:2])
    assert "swap in" in pictures[0].alt
    assert "nan" not in pictures[0].svg.lower()


def test_a_run_with_modelled_numbers_beside_measured_ones_is_no_modelled_run() -> None:
    assert not subject(cell("nvme", "none")).modelled
    assert subject(fitted()).modelled is False


def test_the_largest_model_has_both_formulas() -> None:
    about = subject(fitted())
    _, tables = training.sections(about, about.measured)
    assert text(tables[0])[0][3:] == ["30.0 M", "300.0 M", "60.0 M", "50.0 %"]


def test_tiers_that_a_definition_does_not_know_are_not_guessed() -> None:
    peak = Peak(1e12, Unit.BYTE, "made up", "me")
    cluster = synthetic.cluster_mi300x()
    for node, missing in (
        (cluster.node, 5), (structs.replace(cluster.node, memory=peak), 2),
        (structs.replace(cluster.node, memory=peak, storage=Storage(peak)), 0),
    ):  # fmt: skip
        about = subject(fitted())
        run = structs.replace(about.run.info, cluster=structs.replace(cluster, node=node))
        held = Subject(synthetic.run(run, about.run.records, next(iter(about.run.provenance.values()))), "run")
        [table] = room_tables(held)
        assert sum(row[2] == "n/a" for row in text(table)) == missing
        assert len(table.notes) == bool(missing) + (missing == 5)
