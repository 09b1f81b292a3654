"""What a report says: the right numbers, and everything that a reader must know about them."""

from __future__ import annotations

import math

import pytest
import reports_synthetic as synthetic
from msgspec import structs

from harness.errors import UsageError
from harness.records import Better, Cadence, Evidence, Failed, Measurement, Ok, Origin, Record, Skipped
from harness.statistics import median_interval
from harness.store import Run
from harness.summary import cells
from harness.units import Unit
from reports.document import build
from reports.headline import rows
from reports.model import Chapter, Document, Part, Table
from reports.outcomes import span
from reports.subject import Subject, beyond_caches


def tables(part: Part) -> list[Table]:
    return [part.headline, *(table for chapter in part.chapters for table in chapter.tables)]


def chapter(part: Part, name: str) -> Chapter:
    return next(c for c in part.chapters if c.identifier.endswith(f"-{name}"))


def words(table: Table) -> str:
    return " ".join(f"{t.main} {t.sub}" for group in table.groups for row in group.rows for t in row)


def with_records(run: Run, records: list[Record]) -> Run:
    return Run(run.path, run.info, tuple(records), run.provenance, run.problems)


def test_no_run_is_an_error() -> None:
    with pytest.raises(UsageError, match="no run"):
        build([])


def test_headline_is_the_best_rate_of_each_operation_and_type() -> None:
    run = synthetic.node()
    best = {(row.title, row.dtype): row.figure for row in rows(Subject(run, "r1"))}
    found = [
        figure
        for cell in cells(run.records)
        if cell.benchmark == "collectives.all_reduce" and cell.params["dtype"] == "float32"
        for figure in cell.figures
        if figure.name == "busbw"
    ]
    assert best["all-reduce", "float32"].interval.value == max(figure.interval.value for figure in found)
    titles = {"all-reduce", "all-gather", "reduce-scatter", "broadcast", "all-to-all", "send-recv"}
    assert {title for title, dtype in best if dtype == "bfloat16"} >= titles | {"square"}


def test_memory_counts_only_beyond_four_caches() -> None:
    subject = Subject(synthetic.node(), "r1")
    triads = [c for c in subject.measured if c.params.get("op") == "triad"]
    far, remark = beyond_caches(subject, triads)
    assert not remark
    assert min(int(str(cell.params["size"])) for cell in far) == 4 * (256 << 20)
    top = next(row for row in rows(subject) if row.title == "triad")
    assert top.peak.ratio is not None
    assert top.peak.ratio < 1
    everything = max(f.interval.value for c in triads for f in c.figures if f.name == "bandwidth")
    assert everything > 5.3e12  # a cache's rate, above the memory's peak: it must not be the headline


def test_a_working_set_under_four_caches_is_remarked_on() -> None:
    run = synthetic.node()
    small = [r for r in run.records if r.benchmark != "memory.stream" or int(str(r.params["size"])) < 1 << 29]
    part = build([with_records(run, small)]).parts[0]
    assert any("under 4 last-level caches" in note for note in part.headline.notes)


def test_ranks_on_one_device_share_its_caches() -> None:
    assert [(cache.name, cache.size) for cache in Subject(synthetic.local(), "r1").caches] == [
        ("L1d", 48 << 10), ("L2", 2 << 20), ("L3", 32 << 20),
    ]  # fmt: skip


def test_every_headline_row_has_interval_samples_and_both_shares(document: Document) -> None:
    part = document.parts[0]
    assert part.headline.groups
    for group in part.headline.groups:
        for row in group.rows:
            assert len(row) == 8
            assert row[3].main.startswith("[") or row[3].main == "no spread"
            assert "×" in row[5].main
            for share in row[6:]:
                assert share.main.endswith("%") or (share.main == "n/a" and share.mark)
    assert all(note for note in part.headline.notes)


def test_one_launch_is_said_to_be_within_the_run(local: Document, node: Document) -> None:
    assert local.parts[0].headline.columns[3].title == "95 % interval, within run"
    assert "within the run" in local.parts[0].summary
    assert node.parts[0].headline.columns[3].title == "95 % interval, across launches"


def test_every_table_and_figure_of_numbers_names_its_origin(document: Document) -> None:
    part = document.parts[0]
    origin = "odelled, not measured" if part.banner else "easured"
    families = [
        c for c in part.chapters if c.identifier.rsplit("-", 1)[1] in ("collectives", "gemm", "memory", "cells")
    ]
    assert len(families) == 4
    for caption in [part.headline.caption, *(x.caption for c in families for x in (*c.tables, *c.pictures))]:
        assert origin in caption


def test_a_modelled_run_says_so_everywhere(simulated: Document) -> None:
    part = simulated.parts[0]
    assert part.banner == "Modelled, not measured"
    assert "model" in part.summary
    assert part.verb == "modelled"
    assert "simulated" in part.facts[1].detail


def test_a_parsed_number_beside_measured_ones_gets_a_column_of_origins() -> None:
    run = synthetic.local()
    first = run.records[0]
    parsed = tuple(structs.replace(m, origin=Origin.PARSED) for m in first.measurements)
    other = structs.replace(first, benchmark="collectives.reduce", measurements=parsed)
    part = build([with_records(run, [*run.records, other])]).parts[0]
    assert part.headline.columns[-1].title == "Origin"
    assert {row[-1].main for group in part.headline.groups for row in group.rows} == {"measured", "parsed"}


def test_above_100_percent_is_in_the_headline_the_table_and_the_caption() -> None:
    run = synthetic.node()
    device = structs.replace(run.info.cluster.device, peaks={
        dtype: structs.replace(peak, value=peak.value / 4) for dtype, peak in run.info.cluster.device.peaks.items()
    })  # fmt: skip
    info = structs.replace(run.info, cluster=structs.replace(run.info.cluster, device=device))
    part = build([Run(run.path, info, run.records, run.provenance, ())]).parts[0]
    assert any("gemm.square" in alarm and "above 100" in alarm.lower() for alarm in part.alarms)
    assert any(text.tone == "alarm" for group in part.headline.groups for row in group.rows for text in row)
    assert "Above 100 %: see the headline" in chapter(part, "gemm").pictures[0].caption


def test_skips_and_failures_are_listed_with_their_reasons(node: Document) -> None:
    part = node.parts[0]
    assert (part.tally.skipped, part.tally.failed, part.tally.incomplete) == (1, 1, 1)
    said = words(chapter(part, "outcomes").tables[0])
    for reason in ("e4m3fnuz", "expected 28.0", "signal 9", "no result from rank 3"):
        assert reason in said


def test_cells_with_one_reason_share_a_row(local: Document) -> None:
    (table,) = chapter(local.parts[0], "outcomes").tables
    ((row,),) = (group.rows for group in table.groups)
    assert [text.main for text in row[:3]] == ["gemm.square", "float16, n\u00a0=\u00a0128 to 2,048", "5"]


def test_span_of_parameters() -> None:
    sizes = [{"dtype": "float32", "size": 1 << n, "ranks": 2} for n in (10, 14, 20)]
    assert span(sizes) == "float32, 1\u00a0KiB to 1\u00a0MiB, 2\u00a0ranks"
    assert span([{"dtype": "float32"}, {"dtype": "tf32"}]) == "float32 and tf32"


def test_what_was_cut_off_or_not_reached_is_said() -> None:
    run = synthetic.local()
    cut = Run(
        run.path, run.info, run.records[:20], run.provenance, ("records.jsonl line 21: input data was truncated",)
    )
    part = build([cut]).parts[0]
    assert any("truncated" in problem for problem in part.problems)
    assert any("147 planned cells not reached" in problem for problem in part.problems)
    assert part.tally.missing == 147
    assert part.tally.planned == 167


def test_missing_launches_are_said() -> None:
    run = synthetic.node()
    fewer = [record for record in run.records if record.launch < 2]
    problems = build([with_records(run, fewer)]).parts[0].problems
    assert any("fewer than the 3 launches" in problem for problem in problems)


def test_a_run_without_any_record_is_still_a_report() -> None:
    run = synthetic.local()
    part = build([Run(run.path, run.info, (), {}, ())]).parts[0]
    assert not part.headline.groups
    assert part.tally.missing == 167
    assert any("nothing was measured" in problem for problem in part.problems)


def test_a_run_of_nothing_but_skips_is_a_report() -> None:
    run = synthetic.local()
    skipped = [structs.replace(r, outcome=Skipped("no such device"), measurements=()) for r in run.records]
    part = build([with_records(run, skipped)]).parts[0]
    assert part.tally.skipped == 167
    assert "no such device" in words(chapter(part, "outcomes").tables[0])


def test_an_unknown_family_gets_a_chapter_of_its_own() -> None:
    run = synthetic.local()
    samples = tuple(0.5 + 0.001 * n for n in range(20))
    taken = (
        Measurement("step.time", Unit.SECOND, Better.LOWER, samples, Origin.MEASURED),
        Measurement("energy", Unit.JOULE, Better.LOWER, (120.0, 121.0, 119.5), Origin.MEASURED),
        Measurement("tokens", Unit.TOKEN_PER_SECOND, Better.HIGHER, (9e3, 9.1e3, 9.2e3), Origin.MEASURED),
    )
    other = synthetic.record("training.step", {"model": "tiny", "batch": 8}, Ok(), taken)
    part = build([with_records(run, [*run.records, other])]).parts[0]
    found = chapter(part, "family-training")
    assert found.title == "Training"
    assert "tiny" in words(found.tables[0])
    everything = words(next(t for t in chapter(part, "cells").tables if "training" in t.identifier))
    assert all(unit in everything for unit in ("ms", "J", "token/s"))
    assert "training" not in [group.title.lower() for group in part.headline.groups if "step" in words(part.headline)]


def test_two_modes_are_shown_with_both_shares(node: Document) -> None:
    found = chapter(node.parts[0], "modes")
    assert found.pictures
    row = found.tables[0].groups[0].rows[0]
    assert "all-to-all" in row[0].main
    assert 1.5 < float(row[3].main) < 1.7


def test_without_two_modes_there_is_no_such_chapter() -> None:
    part = build([synthetic.simulated(sizes=[1024, 4096])]).parts[0]
    assert not [c for c in part.chapters if c.title == "Two modes"]


def test_declared_and_detected_stand_in_columns_of_their_own(node: Document) -> None:
    table = chapter(node.parts[0], "hardware").tables[0]
    assert [column.title for column in table.columns] == ["", "Declared by the definition", "Detected on the machine"]
    devices = table.groups[0].rows[0]
    assert "OAM" not in devices[1].main
    assert devices[2].main == "8 × AMD Instinct MI300X OAM on node-a17"


def test_a_simulated_device_was_not_detected(simulated: Document) -> None:
    table = chapter(simulated.parts[0], "hardware").tables[0]
    assert table.groups[0].rows[0][2].main == "–"


def test_the_appendix_has_every_cell_with_a_number(document: Document) -> None:
    part = document.parts[0]
    rows = sum(len(group.rows) for table in chapter(part, "cells").tables for group in table.groups)
    assert rows == part.tally.measured


def test_every_row_fits_its_columns(document: Document) -> None:
    for table in tables(document.parts[0]):
        for group in table.groups:
            assert {len(row) for row in group.rows} <= {len(table.columns)}


def test_a_slow_rank_and_flags_are_remarked() -> None:
    run = synthetic.local()
    first = run.records[0]
    evidence = Evidence(rank_medians=(1e-4, 1e-4, 1.5e-4, 1e-4), flags=("warm-up did not settle before its cap",))
    slow = structs.replace(first, measurements=tuple(structs.replace(m, evidence=evidence) for m in first.measurements))
    part = build([with_records(run, [slow, *run.records[1:]])]).parts[0]
    said = words(chapter(part, "method").tables[1])
    assert "rank 2 is slow" in said
    assert "did not settle" in said


def test_shown_intervals_are_those_of_the_statistics(local: Document) -> None:
    run = synthetic.local()
    cell = next(c for c in cells(run.records) if c.benchmark == "gemm.square" and c.params["m"] == 2048)
    figure = cell.figure("flops", Cadence.STREAMING)
    assert figure is not None
    times = median_interval(figure.samples[0])
    assert math.isclose(figure.interval.low, 2 * 2048**3 / times.high)
    table = chapter(local.parts[0], "gemm").tables[0]
    row = next(row for row in table.groups[0].rows if row[0].main == "2,048")
    column = [c.title for c in table.columns].index(str(cell.params["dtype"]))
    assert row[column].main == f"{figure.interval.value / 1e9:.1f}"


def test_a_failed_launch_leaves_the_others_numbers() -> None:
    run = synthetic.node()
    broken = [
        structs.replace(r, outcome=Failed("wrong"), measurements=()) if r.launch == 1 and "gemm" in r.benchmark else r
        for r in run.records
    ]
    part = build([with_records(run, broken)]).parts[0]
    assert chapter(part, "gemm").pictures
    assert "2 × 60" in words(part.headline)
    assert part.tally.failed > 1


def test_several_runs_are_parts_of_one_document() -> None:
    document = build([synthetic.local(), synthetic.simulated(sizes=[1024, 4096])])
    assert document.title == "2 runs"
    assert [part.identifier for part in document.parts] == ["r1", "r2"]
    assert [bool(part.banner) for part in document.parts] == [False, True]


def test_operands_in_cache_are_a_mode_of_their_own() -> None:
    run = synthetic.local()
    products = [record for record in run.records if record.benchmark == "gemm.square"]
    cold = [structs.replace(r, params={**r.params, "cached": False}) for r in products]
    hot = [structs.replace(r, params={**r.params, "cached": True}) for r in products]
    part = build([with_records(run, [*(r for r in run.records if r not in products), *cold, *hot])]).parts[0]
    titles = [row[0].main for group in part.headline.groups for row in group.rows]
    assert titles.count("square") == titles.count("square, in cache") == 2
    found = chapter(part, "gemm")
    assert len(found.pictures) == len(found.tables) == 2
    assert "operands in cache" in found.pictures[1].caption
    assert "operands in cache" not in found.pictures[0].caption
    assert "cache" not in part.heroes[1].context
