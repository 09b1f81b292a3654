"""The chapter on matrix multiplication: sums, shares, trials, advice and roofs, from synthetic cells."""

from __future__ import annotations

import math

import pytest
import reports_synthetic as synthetic
from msgspec import structs

from harness.records import Better, Cadence, Measurement, Ok, Origin, Params, Rate, Record, Skipped
from harness.statistics import Interval
from harness.store import Run
from harness.summary import cells
from harness.units import Unit
from reports.chapters import gemm
from reports.chapters.gemm import rooflines, rules, sums
from reports.model import Chapter, Table
from reports.subject import Subject

MODEL: Params = {"model": "tiny", "sequence": 64, "batch": 1, "tensor_parallel": 1, "vocabulary": 1024,
                 "dtype": "float32"}  # fmt: skip
SPREAD = (0.98, 0.99, 1.0, 1.0, 1.0, 1.01, 1.02)


def taken(seconds: float, rates: dict[str, float], own: Params, metric: str = "time") -> Measurement:
    units = {"flops": Unit.FLOP_PER_SECOND, "tokens": Unit.TOKEN_PER_SECOND}
    held = tuple(Rate(name, amount, units.get(name, Unit.BYTE_PER_SECOND)) for name, amount in rates.items())
    unit = Unit.RATIO if metric == "gain" else Unit.SECOND
    samples = tuple(seconds * factor for factor in SPREAD)
    return Measurement(
        f"{metric}.streaming", unit, Better.LOWER, samples, Origin.MEASURED, Cadence.STREAMING, held, params=own
    )


def part(name: str, seconds: float, times: int, flops: float, moved: float) -> Record:
    own: Params = {"times": times, "m": 64, "n": 128, "k": 256 if flops else 0, "count": 1}
    rates = {"flops": flops, "traffic": moved} if flops else {"bandwidth": moved}
    return synthetic.record("gemm.transformer", MODEL | {"part": name}, Ok(), [taken(seconds, rates, own)])


def layer(seconds: float, flops: float) -> Record:
    held = taken(seconds, {"flops": flops, "tokens": 64}, {"hidden": 256})
    return synthetic.record("gemm.transformer", MODEL | {"part": "layer"}, Ok(), [held])


def parts() -> list[Record]:
    """4 ms of a layer in products that compute bounds, 2 ms twice in a part that only moves data."""
    return [part("qkv.forward", 4e-3, 1, 4e8, 1e5), part("norm.forward", 2e-3, 2, 0, 2e7),
            part("logits.forward", 9e-3, 0, 9e8, 1e5)]  # fmt: skip


def stream(size: int = 1 << 30) -> Record:
    held = taken(size / 1e10, {"bandwidth": size}, {})
    return synthetic.record("memory.stream", {"op": "read", "dtype": "float32", "size": size}, Ok(), [held])


def subject(*records: Record) -> Subject:
    run = synthetic.local()
    info = synthetic.info(run.info.cluster, records, "quick", 1)
    return Subject(Run(run.path, info, records, run.provenance, ()), "r1")


def written(held: Subject) -> Chapter:
    return gemm.chapter(held, [cell for cell in held.measured if cell.benchmark.startswith("gemm.")])


def row(table: Table, name: str) -> list[str]:
    return next([text.main for text in row] for group in table.groups for row in group.rows if row[0].main == name)


def sizing(*records: Record) -> sums.Sizing:
    held = subject(*records)
    return sums.sizings(held, held.measured)[0]


def test_sum_and_ratio_are_interval_arithmetic() -> None:
    found = sizing(*parts(), layer(1e-2, 4e8))
    held = found.total
    assert math.isclose(held.value, 8e-3)
    assert math.isclose(held.low, sum(p.times * p.time.interval.low for p in found.parts))
    assert held.low < held.value < held.high
    assert found.run is not None
    assert found.ratio == Interval(
        held.value / found.run.interval.value, held.low / found.run.interval.high, held.high / found.run.interval.low
    )


def test_table_has_parts_sum_layer_and_ratio() -> None:
    table = written(subject(*parts(), layer(1e-2, 4e8))).tables[0]
    assert row(table, "qkv.forward")[6] == "40.0\u00a0%"
    assert row(table, "norm.forward")[6] == "40.0\u00a0%"  # twice
    assert row(table, "logits.forward")[6] == "–"
    assert row(table, "Sum of the parts")[3] == "8.00\u00a0ms"
    assert row(table, "Sum over layer")[3] == "0.800"
    assert [group.title for group in table.groups][-2:] == ["Beside the layer, not in the sum", "The layer"]


@pytest.mark.parametrize("flops", [5e8, 4e8])
def test_no_ratio_where_a_part_is_missing(flops: float) -> None:
    """One that was not asked for shows in the FLOP; one that was skipped, in the plan."""
    skipped = structs.replace(part("up.forward", 1e-3, 1, 1e8, 1e5), outcome=Skipped("no memory"), measurements=())
    records = [*parts(), layer(1e-2, flops), *([skipped] if flops == 4e8 else [])]
    found = sizing(*records)
    assert found.ratio is None
    table = written(subject(*records)).tables[0]
    assert "No ratio" in table.caption
    assert ("up.forward" in table.caption) == (flops == 4e8)


def test_parts_without_a_layer_have_shares_of_their_sum() -> None:
    table = written(subject(*parts())).tables[0]
    assert row(table, "qkv.forward")[6] == "50.0\u00a0%"
    assert "that of the sum" in table.caption


def finder() -> Record:
    best = taken(1e-3, {"flops": 1e8, "traffic": 1e5}, {"m": 512, "n": 256, "k": 512})
    trials = [taken(1e-3 * i, {}, {"m": 256 * i, "n": 256, "k": 512}, "trial") for i in (1, 2, 3)]
    params: Params = {"dtype": "float32", "low": 256, "high": 1024, "step": 256, "seconds": 4.0}
    return synthetic.record("gemm.peak", params, Ok(), [best, *trials])


def test_peak_is_the_winner_and_counts_its_trials() -> None:
    found = written(subject(finder()))
    line = found.tables[0].groups[0].rows[0]
    assert [text.main for text in line[2:4]] == ["m\u00a0=\u00a0512, n\u00a0=\u00a0256, k\u00a0=\u00a0512",
                                                 "100\u00a0GFLOP/s"]  # fmt: skip
    assert (line[5].main, line[5].sub) == ("3", "4.69\u00a0% of 64")
    assert line[6].main == "n/a"  # the machine has no peak
    assert "100\u00a0GFLOP/s" in found.intro


def rule(gain: float, samples: int = len(SPREAD)) -> Record:
    times = [taken(1e-3, {"flops": 1e8}, {"to": 50257}), taken(1e-3 / gain, {"flops": 1e8}, {"to": 50304})]
    gained = taken(gain, {}, {"to": 50304}, "gain")
    gained = structs.replace(gained, samples=gained.samples[:samples])
    params: Params = {"kind": "vocab", "width": 50257, "tokens": 64, "edge": 512, "dtype": "float32"}
    return synthetic.record("gemm.rule", params, Ok(), [*times, gained])


def test_advice_is_a_gain_beyond_its_interval() -> None:
    [cell] = cells([rule(1.25)])
    assert rules.advice(cell) == "Vocabulary 50,257 → 50,304: +25.0\u00a0% [+22.5, +27.5]"
    [cell] = cells([rule(1.001)])
    assert rules.advice(cell) == "Vocabulary 50,257: keep it; the best other, 50,304: +0.1\u00a0% [−1.9, +2.1]"
    [cell] = cells([rule(1.25, samples=3)])
    assert rules.advice(cell) == "Vocabulary 50,257: 3 samples of each, too few for advice"
    table = written(subject(rule(1.25))).tables[0]
    assert table.groups[0].title.startswith("Vocabulary 50,257 → 50,304")
    assert row(table, "50,304")[1] == "128"


def test_roofline_needs_memory_and_says_so() -> None:
    found = written(subject(*parts()))
    assert found.pictures == ()
    assert "No roofline" in found.remarks[0]


def test_roofs_bound_what_is_below_them() -> None:
    held = subject(*parts(), stream())
    found = written(held)
    assert [picture.identifier for picture in found.pictures] == ["r1-roofline"]
    assert "10.0\u00a0GB/s" in found.pictures[0].caption
    table = found.tables[0]
    assert row(table, "qkv.forward")[7] == "compute"  # 4,000 FLOP/B; the ridge is at 10
    assert row(table, "norm.forward")[7] == "memory"


def test_bound_is_open_near_the_ridge() -> None:
    near = [part(f"{name}.forward", 1e-3, 1, 1e8, moved) for name, moved in (("qkv", 1e7), ("up", 1e8), ("down", 1e5))]
    placed, _ = rooflines.measured(subject(stream()), cells(near))
    assert placed is not None
    bounds = {c.params["part"]: placed.bound(c.figure("flops"), c.figure("traffic")) for c in cells(near)}
    assert bounds == {"qkv.forward": "either", "up.forward": "memory", "down.forward": "compute"}


def test_attention_says_what_was_run() -> None:
    params: Params = {"backend": "math", "heads": 8, "kv_heads": 2, "head_dim": 64, "sequence": 1024, "batch": 2,
                      "causal": True, "backward": False, "dtype": "float32"}  # fmt: skip
    held = synthetic.record("gemm.attention", params, Ok(), [taken(1e-3, {"flops": 1e8, "traffic": 1e5}, {})])
    line = [text.main for text in written(subject(held)).tables[0].groups[0].rows[0]]
    assert line[:7] == ["math", "causal", "forward", "8 : 2", "64", "1,024 × 2", "100"]


def test_figures_without_bytes_need_no_roofline() -> None:
    records = [r for r in synthetic.local().records if r.benchmark == "gemm.square"]
    found = written(subject(*records))
    assert found.remarks == ()
    assert len(found.pictures) == len(found.tables) == 1


def test_products_above_the_slope_are_counted() -> None:
    """At 1 FLOP/B the memory feeds 10 GFLOP/s; from a cache, 100 came of it."""
    found = written(subject(part("up.forward", 1e-3, 1, 1e8, 1e8), part("qkv.forward", 1e-3, 1, 1e8, 1e5), stream()))
    assert "1 product above the slope" in found.pictures[0].caption
