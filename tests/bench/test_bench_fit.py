"""`bench fit alphabeta`: from logs, JSON and runs, with what it cannot fit and cannot read said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.curves import of_cells
from harness.hardware import Cluster, Device, Node
from harness.records import SCHEMA, Better, Cadence, Measurement, Ok, Origin, Params, Rate, Record
from harness.store import RunInfo, Store
from harness.summary import cells
from harness.units import Unit

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/nccl_tests/two_runs.txt"
ALPHA, BETA, FACTOR = 20e-6, 4e9, 1.5
CLUSTER = Cluster("made-up", "four ranks", "cpu", 1, Device("X", "cpu", "host", ("*",)), Node(4))


def record(benchmark: str, size: int, launch: int, origin=Origin.MEASURED, n=12, **params: object) -> Record:
    """One cell at both cadences, from t = α + S·factor/β with noise; isolated takes twice the latency."""
    rng = np.random.default_rng([size, launch])
    measurements = []
    for cadence, alpha in ((Cadence.ISOLATED, 2 * ALPHA), (Cadence.STREAMING, ALPHA)):
        true = alpha + size * FACTOR / BETA
        samples = tuple(float(value) for value in true * np.exp(0.02 * rng.standard_normal(n)))
        rates = (Rate("algbw", size, Unit.BYTE_PER_SECOND), Rate("busbw", size * FACTOR, Unit.BYTE_PER_SECOND))
        measurements.append(
            Measurement(f"time.{cadence.value}", Unit.SECOND, Better.LOWER, samples, origin, cadence, rates)
        )
    held: Params = {"size": size, "ranks": 4, "dtype": "float32", **params}  # type: ignore[dict-item]
    return Record(SCHEMA, benchmark, 1, held, launch, Ok(), tuple(measurements))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three launches: a curve of eight sizes, one of two, and a cell that has no bandwidth."""
    info = RunInfo(SCHEMA, "made-up-run", "2026-01-01T00:00:00Z", ("bench",), "quick", CLUSTER, False, 1, 3, None, ())
    store = Store.create(tmp_path / "runs", info)
    for launch in range(3):
        for power in range(10, 26, 2):
            store.append(record("collectives.all_reduce", 1 << power, launch))
        for power in (10, 20):
            store.append(record("collectives.broadcast", 1 << power, launch))
        barrier = Measurement("time.isolated", Unit.SECOND, Better.LOWER, (1e-6, 2e-6), Origin.MEASURED)
        store.append(Record(SCHEMA, "collectives.barrier", 1, {"ranks": 4}, launch, Ok(), (barrier,)))
    store.close()
    return store.path


def inside(quantity: dict, value: float) -> bool:
    return quantity["low"] <= value <= quantity["high"]


def test_a_log_gives_a_curve_for_each_way(bench) -> None:
    document = bench("fit", "alphabeta", str(FIXTURE), "--json").document
    out_of_place, in_place = document["curves"]
    assert out_of_place["params"] == {
        "operation": "all_reduce", "dtype": "float32", "reduction": "sum", "ranks": 8, "nodes": 1, "in_place": False,
    }  # fmt: skip
    assert (out_of_place["benchmark"], out_of_place["cadence"], out_of_place["factor"]) == (
        "nccl-tests",
        "streaming",
        1.75,
    )
    found = out_of_place["parameters"]
    planted = {"alpha.1": 12e-6, "beta.1": 24e9, "breakpoint.1": 2**19, "alpha.2": 40e-6, "beta.2": 300e9}
    assert {name: inside(found[name], value) for name, value in planted.items()} == dict.fromkeys(planted, True)
    assert set(found) == set(planted)
    assert {quantity["origin"] for quantity in (*found.values(), *out_of_place["derived"].values())} == {"parsed"}
    assert [found[name]["unit"] for name in ("alpha.1", "beta.1", "breakpoint.1")] == ["s", "B/s", "B"]
    assert {"peak", "n_half", "ninety", "n_half.1", "n_half.2"} == set(out_of_place["derived"])
    assert in_place["params"]["in_place"] is True
    assert all(point["low"] <= point["time"] <= point["high"] for point in out_of_place["points"])  # three cycles
    assert all(abs(math.log(point["time"] / point["model"]["value"])) < 0.05 for point in out_of_place["points"])
    assert [entry["reason"][:25] for entry in document["skipped"]] == ["a curve of 2 size(s): lat"] * 2
    assert any("cut off" in warning for warning in document["warnings"])


def test_a_run_gives_a_curve_for_each_operation_and_cadence(bench, run: Path) -> None:
    for source in (str(run), run.name):  # its folder, or its name under ./runs
        document = bench("fit", "alphabeta", source, "--json").document
        curves = {(curve["benchmark"], curve["cadence"]): curve for curve in document["curves"]}
        assert set(curves) == {("collectives.all_reduce", "isolated"), ("collectives.all_reduce", "streaming")}
        assert {entry["benchmark"] for entry in document["skipped"]} == {"collectives.broadcast"}
    for cadence, alpha in (("isolated", 2 * ALPHA), ("streaming", ALPHA)):
        curve = curves["collectives.all_reduce", cadence]
        assert (curve["params"], curve["origin"]) == ({"ranks": 4, "dtype": "float32"}, "measured")
        assert curve["factor"] == pytest.approx(FACTOR)
        assert inside(curve["parameters"]["alpha.1"], alpha)
        assert inside(curve["parameters"]["beta.1"], BETA)
        assert inside(curve["derived"]["n_half"], alpha * BETA / FACTOR)
        assert curve["flagged"] == []


def test_text_says_what_json_does(bench, run: Path) -> None:
    out = bench("fit", "alphabeta", str(run)).out
    assert "2 curves (measured)" in out
    assert "all_reduce ranks=4 float32 streaming" in out
    assert "not fitted: broadcast ranks=4 float32 isolated: a curve of 2 size(s)" in out
    out = bench("fit", "alphabeta", str(FIXTURE)).out
    assert "512 KiB to 256 MiB" in out
    assert "warning: line 94:" in out


def test_one_launch_is_flagged_and_a_model_is_labelled() -> None:
    one = of_cells(cells([record("collectives.all_reduce", 1 << power, 0) for power in (10, 15, 20)]))
    assert all("one launch cannot show" in trace.flags[0] for trace in one)
    modelled = [record("collectives.all_reduce", 1 << power, 0, Origin.MODELLED) for power in (10, 15, 20)]
    assert [(trace.origin, trace.flags) for trace in of_cells(cells(modelled))] == [(Origin.MODELLED, ())] * 2


def test_curves_are_kept_apart_by_every_parameter_but_size() -> None:
    several = [
        record("collectives.all_reduce", 1 << power, 0, placement=placement, groups=groups)
        for power in (10, 15, 20) for placement in ("packed", "rail") for groups in (1, 2)
    ]  # fmt: skip
    traces = of_cells(cells(several))
    assert len(traces) == 8
    assert all("size" not in trace.params and len(trace.points) == 3 for trace in traces)


def test_json_of_the_tests_themselves_is_taken(bench, tmp_path: Path) -> None:
    entries = [
        {"name": "SendRecv", "gpus": 2, "size": 1 << power, "type": "half", "redop": "sum", "inPlace": 0,
         "time": 10 + (1 << power) / 1e5, "algBw": 1.0, "busBw": 1.0, "wrong": "0"} for power in range(10, 24)
    ]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(entries))
    (curve,) = bench("fit", "alphabeta", "results.json", "--json").document["curves"]
    assert curve["params"]["operation"] == "send_recv"
    assert curve["params"]["dtype"] == "float16"
    assert curve["parameters"]["alpha.1"]["value"] == pytest.approx(10e-6, rel=1e-3)
    assert curve["parameters"]["beta.1"]["value"] == pytest.approx(1e11, rel=1e-3)
    assert any("points are single values" in flag for flag in curve["flagged"])


@pytest.mark.parametrize(("name", "content", "says"), [
    ("gone", None, "gone: No such file or directory. Accepted: a run's folder"),
    ("notes.txt", "hello\n", "notes.txt: no table in its 1 line(s); accepted is"),
    ("empty", "", "empty: no table in its 0 line(s)"),
    ("cut.json", '{"version": 1, "args": [', "cut.json: no JSON, nor the beginning of one"),
    ("other.json", '{"version": 7, "results": []}', "layout version 7, and read is 1"),
    ("head.txt", "# size count type redop root time algbw busbw #wrong time algbw busbw #wrong\n 1024 25",
     "head.txt: line 1: the table that begins here has no whole line"),
    ("two.txt", FIXTURE.read_text()[-900:], "latency and bandwidth need at least 3\n  line 12: 1 values"),
    ("single.txt", "size count type time algbw busbw #wrong time algbw busbw #wrong\n"
     + "".join(f"{1024 << at} 1 float 10.0 1.00 0.00 0 10.0 1.00 0.00 0\n" for at in range(4)),
     "no curve that can be fitted\n  nccl-tests float32: there is no bus bandwidth in it"),
])  # fmt: skip
def test_bad_input_is_named(bench, tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = bench("fit", "alphabeta", name, "--json")
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_folder_without_a_run_and_a_run_without_collectives_are_named(bench, tmp_path: Path) -> None:
    done = bench("fit", "alphabeta", str(tmp_path))
    assert (done.code, "Is a directory. Accepted: a run's folder" in done.err) == (2, True)
    info = RunInfo(SCHEMA, "bare", "2026-01-01T00:00:00Z", ("bench",), "quick", CLUSTER, False, 1, 1, None, ())
    Store.create(tmp_path / "runs", info).close()
    done = bench("fit", "alphabeta", "bare")
    assert (done.code, "no collective over sizes is in it" in done.err) == (2, True)


def test_without_a_model_the_models_are_listed(bench) -> None:
    done = bench("fit")
    assert (done.code, "MODEL" in done.err) == (2, True)
