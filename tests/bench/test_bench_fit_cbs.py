"""`bench fit cbs`: from tables of anyone and from runs of e2e.cbs, with what it leaves out and cannot tell said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench_process import Result

from bench.main import main
from harness.hardware import Cluster, Device, Node
from harness.records import SCHEMA, Better, Measurement, Ok, Origin, Record
from harness.store import RunInfo, Store
from harness.units import Unit

A, CRIT = 1000.0, 512.0
BATCHES = tuple(1 << power for power in range(5, 13))
STEPLAW = Path(__file__).resolve().parents[3] / "shared/data/steplaw/dense_lr_bs_loss.csv"


def steps(batch: float, seed: int = 0, crit: float = CRIT, noise: float = 0.03) -> float:
    rng = np.random.default_rng([int(batch), seed])
    return A * (1 + crit / batch) * float(np.exp(noise * rng.standard_normal()))


def lines(head: str = "batch,steps", **spoilt: str) -> str:
    """A table of one run for each batch. spoilt: b256='...' is written in place of the steps of batch 256."""
    rows = [f"{batch},{spoilt.get(f'b{batch}', f'{steps(batch):.1f}')}" for batch in BATCHES]
    return "\n".join([head, *rows]) + "\n"


def inside(quantity: dict, value: float) -> bool:
    return quantity["low"] <= value <= quantity["high"]


@pytest.fixture
def fit(bench, tmp_path: Path) -> Callable[..., Result]:
    """fit(content, *options): of a file with that content."""

    def call(content: str | bytes, *options: str, name: str = "runs.csv") -> Result:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return bench("fit", "cbs", name, *options)

    return call


def test_a_table_gives_the_planted_batches(fit) -> None:
    document = fit(lines(), "--json", "--reference-batch", "32").document
    derived = document["derived"]
    assert inside(derived["b_crit"], CRIT)
    assert inside(derived["b_star"], 1.2 * 32 + CRIT / 5)
    assert inside(derived["s_min"], A)
    assert inside(derived["e_min"], A * CRIT)
    assert document["parameters"].keys() == {"a", "b"}
    assert {quantity["origin"] for quantity in (*derived.values(), *document["parameters"].values())} == {"parsed"}
    assert derived["b_crit"]["high"] < 1.3 * derived["b_crit"]["value"]
    assert document["reference_batch"] == {"value": 32.0, "chosen": False}
    assert [point["outcome"] for point in document["points"]] == ["reached"] * len(BATCHES)
    assert all(inside(point["model"], A * (1 + CRIT / point["batch"])) for point in document["points"][2:5])


def test_other_settings_move_b_star_alone(fit) -> None:
    usual = fit(lines(), "--json").document
    assert usual["reference_batch"] == {"value": 32.0, "chosen": True}
    other = fit(lines(), "--json", "--reference-batch", "64", "--overhead", "0.5").document["derived"]
    assert other["b_crit"] == usual["derived"]["b_crit"]
    assert other["b_star"]["value"] == pytest.approx(1.5 * 64 + 0.5 * other["b_crit"]["value"])


def test_an_outlier_is_named_with_its_line_and_factor(fit) -> None:
    clean = fit(lines(), "--json").document
    done = fit(lines(b256=f"{steps(256) * 400:.0f}"), "--json").document
    (flag,) = [line for line in done["flagged"] if "left out" in line]
    assert flag.startswith("line 5: batch 256: ")
    assert "times what the curve has" in flag
    (point,) = [point for point in done["points"] if point["outcome"] == "outlier"]
    assert (point["name"], point["batch"]) == ("line 5", 256)
    assert point["factor"] == pytest.approx(400, rel=0.2)
    for name in ("b_star", "b_crit", "s_min", "e_min"):
        assert done["derived"][name]["value"] == pytest.approx(clean["derived"][name]["value"], rel=0.1)


def test_censored_and_diverged_runs_are_told_apart(fit) -> None:
    rows = ["Batch Size;Iterations;Seed;Reached;Diverged"]
    for batch in BATCHES:
        rows += [f"{batch};{steps(batch, seed):.1f};{seed};yes;0" for seed in range(3)]
    rows += ["32;9000;7;no;0", "4096;;8;no;1", "64;nan;9;no;yes"]
    document = fit("\n".join(rows), "--json").document
    outcomes = [point["outcome"] for point in document["points"][-3:]]
    assert outcomes == ["censored", "diverged", "diverged"]
    assert document["points"][-1]["steps"] is None
    assert inside(document["derived"]["b_crit"], CRIT)
    said = "\n".join(document["flagged"])
    assert "line 26: batch 32: target not reached after 9000 steps" in said
    assert "line 27: batch 4096: diverged" in said


def separated(by: str, rows: list[dict]) -> str:
    return "\n".join(by.join(map(str, cells)) for cells in (rows[0], *(row.values() for row in rows)))


@pytest.mark.parametrize(("name", "write"), [
    ("list.json", lambda rows: json.dumps(rows)),
    ("points.json", lambda rows: json.dumps({"task": "made up", "points": rows})),
    ("lines.jsonl", lambda rows: "\n".join(json.dumps(row) for row in rows)),
    ("tabs.tsv", lambda rows: separated("\t", rows)),
    ("marked.csv", lambda rows: "\ufeff# made up\n" + separated(",", rows).replace("\n", "\r\n")),
])  # fmt: skip
def test_every_layout_says_the_same(fit, name: str, write: Callable[[list[dict]], str]) -> None:
    rows = [{"batch": batch, "steps": round(steps(batch), 3)} for batch in BATCHES]
    document = fit(write(rows), "--json", name=name).document
    assert inside(document["derived"]["b_crit"], CRIT)
    assert [point["steps"] for point in document["points"]] == [row["steps"] for row in rows]
    assert document["points"][0]["name"] in ("entry 1", "line 1", "line 2", "line 3")


def test_samples_are_steps_times_batch_and_tokens_are_a_unit(fit) -> None:
    rows = [f"{batch * 1024},{steps(batch) * batch * 1024:.1f}" for batch in BATCHES]
    document = fit("\n".join(["batch_tokens,tokens_to_target", *rows]), "--json").document
    derived = document["derived"]
    assert (derived["b_crit"]["unit"], derived["e_min"]["unit"], derived["s_min"]["unit"]) == (
        "token",
        "token",
        "count",
    )
    assert inside(derived["b_crit"], 1024 * CRIT)
    assert inside(derived["s_min"], A)


def test_columns_are_mapped_by_hand(fit) -> None:
    table = lines("How many,Until then")
    done = fit(table)
    assert done.code == 2
    assert "no column for 'batch'. There is: How many, Until then. Accepted names: batch, batch_size" in done.err
    assert "--map 'batch=COLUMN'" in done.err
    mapped = fit(table, "--map", "batch=How many", "--map", "steps = Until then", "--json").document
    assert inside(mapped["derived"]["b_crit"], CRIT)
    for wrong, says in (
        ("batch", "accepted is ROLE=COLUMN"),
        ("size=How many", "there is no 'size' to map. Accepted: batch, steps"),
        ("batch=How mny", "no column 'How mny' in runs.csv. Near: How many."),
    ):
        done = fit(table, "--map", wrong)
        assert (done.code, says in done.err) == (2, True), done.err


def groups(noise: float = 0.04) -> str:
    rows = ["batch,steps,target loss,N,D"]
    for tokens in (1e9, 4e9, 16e9, 64e9):
        for power in range(14, 24):
            batch = 1 << power
            rows.append(f"{batch},{steps(batch, int(tokens), 20 * tokens**0.47, noise):.2f},3.1,124e6,{tokens:g}")
    return "\n".join(rows)


def test_several_sizes_are_fitted_one_by_one_with_their_power_law(fit) -> None:
    document = fit(groups(), "--json", "--reference-batch", "1").document
    assert [(group["target"], group["model"], group["tokens"]) for group in document["groups"]] == [
        ("3.1", "124e6", tokens) for tokens in ("1e+09", "4e+09", "1.6e+10", "6.4e+10")
    ]
    for group, tokens in zip(document["groups"], (1e9, 4e9, 16e9, 64e9), strict=True):
        assert group["derived"]["b_crit"]["value"] == pytest.approx(20 * tokens**0.47, rel=0.3)
    for name in ("b_star.exponent.tokens", "b_crit.exponent.tokens"):
        assert document["derived"][name]["value"] == pytest.approx(0.47, abs=0.08)
        assert inside(document["derived"][name], document["derived"][name]["value"])
    laws = {law["batch"]: law for law in document["trends"]}
    assert [entry["exponent"] for entry in laws["b_star"]["published"]] == [0.47]
    assert [entry["exponent"] for entry in laws["b_crit"]["published"]] == [0.462]
    out = fit(groups()).out
    assert "exponent of D: 0.4" in out
    assert "published: 0.47 (Zhang et al., arXiv 2410.21676)" in out


def test_targets_are_fitted_apart_and_one_that_cannot_be_is_said(fit) -> None:
    rows = ["batch,steps,target"]
    rows += [f"{batch},{steps(batch):.1f},3.5" for batch in BATCHES]
    rows += [f"{batch},{2 * steps(batch, crit=2 * CRIT):.1f},3.0" for batch in BATCHES]
    rows += [f"{batch},{steps(batch):.1f},2.0" for batch in BATCHES[:2]]
    document = fit("\n".join(rows), "--json").document
    first, second = document["groups"]
    assert inside(first["derived"]["b_crit"], CRIT)
    assert inside(second["derived"]["b_crit"], 2 * CRIT)
    assert [entry["group"] for entry in document["skipped"]] == ["target 2.0"]
    assert "at 2 batch size(s) (32, 64)" in document["skipped"][0]["reason"]
    assert "not fitted: target 2.0" in fit("\n".join(rows)).out


def test_tokens_that_every_row_has_its_own_of_are_no_size(fit) -> None:
    """steps times batch, beside them, would cut the curve into single points."""
    rows = [f"{batch},{steps(batch):.1f},{steps(batch) * batch * 1024:.6g}" for batch in BATCHES]
    document = fit("\n".join(["batch,steps,tokens", *rows]), "--json").document
    assert inside(document["derived"]["b_crit"], CRIT)
    assert "'tokens' is batch times steps in every row" in document["flagged"][0]


def test_text_says_what_json_does(fit) -> None:
    out = fit(lines(b256=f"{steps(256) * 400:.0f}")).out
    assert "Up to a batch of " in out
    assert "linear scaling from a batch of 32, the smallest of the data (--reference-batch sets another)" in out
    assert "line 5: batch 256: " in out
    assert "1 outlier" in out


def test_an_open_interval_has_no_end(fit) -> None:
    rows = [f"{batch},{steps(batch, seed, 4 * CRIT, 0.05):.1f}" for batch in BATCHES[:4] for seed in range(3)]
    derived = fit("\n".join(["batch,steps", *rows]), "--json").document["derived"]
    assert derived["b_crit"]["high"] is None
    assert derived["b_star"]["high"] is None
    assert derived["s_min"]["low"] == 0
    assert "∞]" in fit("\n".join(["batch,steps", *rows])).out


@pytest.mark.parametrize(("content", "says"), [
    (b"", "the file is empty. Accepted: a CSV file with a head line"),
    (b"batch,steps\n", "there is no row in it"),
    ("batch,steps\n32,ä\n".encode("latin-1"), "byte 15 is not UTF-8"),
    (lines(b256="0"), "line 5: steps is '0': the target is reached at step 0"),
    (lines(b256="nan"), "line 5: steps is 'nan': accepted is a finite number above 0; a run that did not reach"),
    (lines(b256="inf"), "line 5: steps is 'inf'"),
    (lines(b256="-5"), "line 5: steps is '-5'"),
    (lines(b256=""), "line 5: steps is ''"),
    (lines(b256="many"), "line 5: steps is 'many': accepted is a plain number"),
    (lines(b256="5,6"), "line 5 has 3 cells, and the head line names 2 columns"),
    (lines().replace("256,", "-256,"), "line 5: batch is '-256': accepted is a finite number above 0"),
    (lines().replace("256,", ","), "line 5: batch is ''"),
    ("batch,steps\n" + "".join(f"64,{1000 + at}\n" for at in range(9)), "at 1 batch size(s) (64): S(B)"),
    ("batch,steps,reached\n32,900,0\n64,900,0\n128,900,0\n", "no run of 3 reached the target: choose a target loss"),
    ("batch,steps,diverged\n32,900,maybe\n", "line 2: diverged is 'maybe': accepted are true and false"),
    ("batch,steps,status\n32,900,lost\n", "line 2: status is 'lost': accepted are reached, censored and diverged"),
    ("batch,batch,steps\n1,1,1\n", "two columns are called 'batch'"),
    ("batch,loss\n32,3\n", "no column for 'steps'. There is: batch, loss. Accepted names: steps, step,"),
    ("batch,steps,D\n32,9,1\n64,8,2\n128,7,3\n", "the rows fall into 3 groups by D"),
    ("batch,steps\n" + "".join(f"{batch},{1e9 / batch}\n" for batch in BATCHES), "every run had the same budget"),
    ('[{"batch": 32, "steps": [1, 2]}]', "entry 1: 'steps' holds more than one value"),
    ("[1, 2, 3]", "entry 1 is no object of named values"),
    ('{"batch": 32, "steps": 9}\n{"batch"', "no JSON: line 2:"),
    ("[" * 100000, "no JSON"),
    ('batch,steps\n32,"9\n', "line 2: unexpected end of data"),
])  # fmt: skip
def test_bad_input_is_named(tmp_path, monkeypatch, capfd, content: str | bytes, says: str) -> None:
    """In this process: a traceback would end the test."""
    monkeypatch.chdir(tmp_path)
    Path("runs.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["fit", "cbs", "runs.csv", "--json"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "bench: runs.csv: " in err
    assert says in err


def test_wrong_files_and_settings_are_named(bench, fit, tmp_path: Path) -> None:
    done = bench("fit", "cbs", "gone.csv")
    assert (done.code, "gone.csv: No such file or directory. Accepted: a CSV file" in done.err) == (2, True)
    done = bench("fit", "cbs", str(tmp_path))
    assert (done.code, "Is a directory" in done.err) == (2, True)
    for option, values in (("--reference-batch", ("0", "nan")), ("--overhead", ("-1", "inf"))):
        for value in values:
            done = fit(lines(), option, value)
            assert (done.code, f"{option} {value}: accepted is a finite number above 0" in done.err) == (2, True)


def test_a_huge_file_is_refused_before_it_is_read(bench, tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(1 << 33)
    done = bench("fit", "cbs", "huge.csv")
    assert (done.code, "huge.csv: 8 GiB is more than a table of runs, at most 64 MiB" in done.err) == (2, True)


def test_a_run_is_read_from_its_records(bench, tmp_path: Path) -> None:
    cluster = Cluster("made-up", "one rank", "cpu", 1, Device("X", "cpu", "host", ("*",)), Node(1))
    info = RunInfo(SCHEMA, "trained", "2026-01-01T00:00:00Z", ("bench",), "quick", cluster, False, 1, 1, None, ())
    store = Store.create(tmp_path / "runs", info)
    found = []
    for batch in BATCHES:
        params = {"batch": batch, "learning_rate": 0.1, "target": 0.02}
        for metric, samples in (
            ("steps", [steps(batch, seed) for seed in range(4)]),
            ("trial.steps", [3 * steps(batch)]),
            ("diverged", [5.0] if batch == BATCHES[-1] else []),
            ("censored", [9000.0] if batch == BATCHES[0] else []),
        ):
            if samples:
                found.append(
                    Measurement(metric, Unit.COUNT, Better.LOWER, tuple(samples), Origin.MEASURED, params=params)
                )
    store.append(Record(SCHEMA, "e2e.cbs", 1, {"task": "made up"}, 0, Ok(), tuple(found)))
    store.close()
    for source in ("trained", str(store.path)):
        document = bench("fit", "cbs", source, "--json").document
        assert inside(document["derived"]["b_crit"], CRIT)
        assert document["derived"]["b_crit"]["origin"] == "measured"
        counts = [point["outcome"] for point in document["points"]]
        assert {word: counts.count(word) for word in counts} == {"reached": 32, "censored": 1, "diverged": 1}
    bare = RunInfo(SCHEMA, "bare", "2026-01-01T00:00:00Z", ("bench",), "quick", cluster, False, 1, 1, None, ())
    Store.create(tmp_path / "runs", bare).close()
    done = bench("fit", "cbs", "bare")
    assert (done.code, "bare: no steps to a target in it: `bench run --only e2e.cbs`" in done.err) == (2, True)


@pytest.mark.skipif(not STEPLAW.is_file(), reason="the published learning-rate and batch-size runs are not here")
def test_published_runs_of_one_budget_are_not_taken_for_a_target(bench) -> None:
    """1911 runs (Li et al. 2025), each batch trained on the same tokens: no interval may have two ends."""
    done = bench("fit", "cbs", str(STEPLAW), "--map", "steps=ti", "--json")
    assert done.code == 0
    assert all(group["derived"]["b_crit"]["high"] is None for group in done.document["groups"])
    assert all("samples to the target do not grow" in entry["reason"] for entry in done.document["skipped"])
    assert math.isfinite(done.document["groups"][0]["derived"]["b_crit"]["low"])
