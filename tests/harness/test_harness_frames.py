"""A folder of runs as one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.frames import frame


def line(params: dict[str, object], samples: list[float]) -> str:
    measurement = {"metric": "time.isolated", "unit": "s", "better": "lower", "samples": samples, "origin": "measured"}
    record = {
        "schema": 1, "benchmark": "gemm.square", "version": 1, "params": params, "launch": 0,
        "outcome": {"status": "ok"}, "measurements": [measurement], "provenance": "abc",
    }  # fmt: skip
    return json.dumps({"type": "record", "record": record}) + "\n"


def test_runs_with_different_parameters_stand_in_one_table(tmp_path: Path) -> None:
    runs = {"a": line({"m": 64}, [0.123456789012345, 2.0]), "b": line({"size": 1024, "op": "copy"}, [3.0])}
    for run, text in runs.items():
        (tmp_path / run).mkdir()
        (tmp_path / run / "records.jsonl").write_text(text)
    table = frame(tmp_path)
    assert list(table["run"]) == ["a", "b"]
    assert [list(samples) for samples in table["samples"]] == [[0.123456789012345, 2.0], [3.0]]
    assert [json.loads(params) for params in table["params"]] == [{"m": 64}, {"size": 1024, "op": "copy"}]


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    whole = line({"m": 64}, [1.0])
    (tmp_path / "a" / "records.jsonl").write_text(whole + line({"m": 128}, [2.0])[:80])
    assert len(frame(tmp_path)) == 1


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runs under"):
        frame(tmp_path)
