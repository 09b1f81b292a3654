"""The checkpoint chapter's tables of faults, of shardings and of goodput, from records that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import reports_synthetic as synthetic

from harness.hardware import Cluster, Device, Node
from harness.records import Better, Evidence, Failed, Measurement, Ok, Origin, Params, Rate, Record, Skipped
from harness.statistics import Interval
from harness.units import Unit
from microbench.checkpoint import outcomes
from reports.chapters.checkpoint import crash, goodput, reshape
from reports.goodput_model import GoodputModel, Job
from reports.model import Table, Text
from reports.subject import Subject

SILENT, NEWEST = "wrong state loaded silently", "newest complete loaded, right"


def subject(records: Sequence[Record], models: Sequence[GoodputModel] = ()) -> Subject:
    cluster = Cluster("one", "One", "cpu", 1, Device("A processor", "cpu", "all cores", ()), Node(1))
    held = synthetic.provenance(cluster, (), 1, 1, "gloo", {})
    return Subject(synthetic.run(synthetic.info(cluster, records, "quick", 1), records, held), "r1", tuple(models))


def tried(engine: str, fault: str, counts: dict[str, int], launch: int = 0) -> Record:
    taken = [
        Measurement("outcomes", Unit.COUNT, Better.LOWER, (float(counts.get(outcome, 0)),), Origin.MEASURED,
                    evidence=Evidence(flags=(f"for example: {outcome} once",) if outcome in counts else ()),
                    params={"outcome": outcome})
        for outcome in crash.TITLES
    ]  # fmt: skip
    params: Params = {"engine": engine, "fault": fault, "size": 1 << 20, "processes": 2, "trials": 5}
    return synthetic.record("checkpoint.crash", params, Ok(), taken, launch)


def rows(table: Table) -> dict[str, tuple[Text, ...]]:
    return {f"{group.title} {row[0].main}": row for group in table.groups for row in group.rows}


def test_every_outcome_is_shown_and_what_must_never_be_is_an_alarm() -> None:
    records = [tried("dcp", "flipped", {NEWEST: 1, SILENT: 4}), tried("lazy", "kill", {NEWEST: 5})]
    held = subject(records)
    pictures, (table,) = crash.sections(held, held.measured)
    assert pictures == []
    assert [group.title for group in table.groups] == ["Killed in a save", "Bit flipped"]
    found = rows(table)
    flipped = [text.main for text in found["Bit flipped dcp"][1:]]
    assert flipped == ["5", "1", "–", "–", "–", "–", "–", "4"]
    silent = found["Bit flipped dcp"][-1]
    assert silent.tone == "alarm"
    assert table.notes[int(silent.mark) - 1] == f"With dcp: {SILENT} once."
    assert all(text.tone != "alarm" for text in found["Killed in a save lazy"])


def test_launches_add_up() -> None:
    held = subject([tried("dcp", "kill", {NEWEST: 5}), tried("dcp", "kill", {NEWEST: 3, SILENT: 2}, launch=1)])
    _, (table,) = crash.sections(held, held.measured)
    (row,) = rows(table).values()
    assert (row[1].main, row[2].main, row[-1].main) == ("10", "8", "2")


def test_the_table_has_a_column_for_all_that_the_benchmark_tells_apart() -> None:
    """An outcome without one would be counted, and never seen."""
    assert [*crash.TITLES] == [outcome.value for outcome in outcomes.Outcome]
    assert {outcome.value for outcome in outcomes.FAULTS} == crash.ALARMS


def moved(engine: str, saved: int, loaded: int, outcome: object, seconds: float = 0.0) -> Record:
    params: Params = {
        "engine": engine, "saved": saved, "loaded": loaded, "size": 1 << 20,
        "sharding_from": "fsdp", "sharding_to": "tp",
    }  # fmt: skip
    taken = Measurement("restore", Unit.SECOND, Better.LOWER, (seconds,) * 3, Origin.MEASURED,
                        rates=(Rate("bandwidth", 1e6, Unit.BYTE_PER_SECOND),))  # fmt: skip
    return synthetic.record("checkpoint.reshape", params, outcome, [taken] if seconds else [])


def test_reshaping_shows_who_can_who_cannot_and_who_is_wrong() -> None:
    held = subject([
        moved("dcp", 2, 1, Ok(), 0.5), moved("torch", 2, 1, Skipped("torch: shards are not reshaped")),
        moved("odd", 1, 2, Failed("rank 0: model.x")),
    ])  # fmt: skip
    _, (table,) = reshape.sections(held, held.measured)
    found = {title.partition(" ")[0]: [text.main for text in row] for title, row in rows(table).items()}
    assert found["dcp"][2:] == ["yes", "500\u00a0ms", "2.00\u00a0MB/s"]
    assert found["torch"][2] == "cannot reshape this"
    assert found["odd"][2] == "no"
    assert found["dcp"][0] == "2\u00a0ranks fully sharded → 1\u00a0rank tensor parallel"
    assert {"Shards are not reshaped.", "Rank 0: model.x."} <= set(table.notes)


def model(engine: str, devices: int, at: float, own: bool = True) -> GoodputModel:
    curve = tuple((10.0**power, Interval(0.99, 0.98, 0.995)) for power in range(5))
    around = Interval(at, at * 0.9, at * 1.1)
    job = Job(devices, 1e8 / devices, "published for X: a paper")
    return GoodputModel({"engine": engine}, job, own, around, around, around, Interval(0.9912, 0.9906, 0.9921), curve)


def test_goodput_has_a_figure_for_two_jobs_and_a_row_for_each() -> None:
    models = [model(engine, devices, 470.0) for devices in (8, 1024, 16384) for engine in ("dcp", "lazy")]
    (picture,), (table,) = goodput.sections(subject([], models), [])
    assert [group.title for group in table.groups] == [
        "8 devices, interrupted every 145 d", "1,024 devices, interrupted every 1.13 d",
        "16,384 devices, interrupted every 1.7 h",
    ]  # fmt: skip
    row = table.groups[2].rows[1]
    assert [text.main for text in row] == ["lazy", *["7\u00a0min\u00a050\u00a0s"] * 3, "99.12\u00a0%"]
    assert "lazy 99.12\u00a0% at best" in picture.alt
    assert "8 devices" in picture.alt
    assert "1,024 devices" not in picture.alt
    assert picture.svg.count("<path") > 10
    assert table.notes == ("Interruptions published for X: a paper.",)


def test_figures_of_other_devices_are_called_so() -> None:
    _, (table,) = goodput.sections(subject([], [model("dcp", 1024, 60.0, own=False)]), [])
    assert any(note.startswith("n/a for this cluster") and "docs/clusters.md" in note for note in table.notes)


def test_what_a_model_leaves_out_is_marked_at_its_engine() -> None:
    held = replace(model("torch", 1024, 60.0), notes=("drag was not measured",))
    _, (table,) = goodput.sections(subject([], [held]), [])
    assert table.notes[int(table.groups[0].rows[0][0].mark) - 1] == "Drag was not measured."


def test_a_small_loss_keeps_its_digits() -> None:
    assert goodput.share(Interval(0.99982, 0.9998, 0.99984)) == ("99.982\u00a0%", "[99.980, 99.984]")
    assert goodput.share(Interval(0.5, 0.5, 0.5)) == ("50.0\u00a0%", "")


def test_nothing_measured_says_nothing() -> None:
    held = subject([])
    assert [part.sections(held, []) for part in (crash, reshape, goodput)] == [([], [])] * 3
