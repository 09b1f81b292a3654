"""Wrong use is named before anything is measured: exit 2, what is accepted, no folder left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = [
    (["run", "--cluster", "mi300"], ["mi300x", "bench list"]),
    (["run", "--only", "gem.square"], ["gemm.square"]),
    (["run", "--only", "nothing*"], ["nothing*", "bench list benchmarks"]),
    (["run", "--suite", "quik"], ["quick"]),
    (["run", "--budget", "-5m"], ["-5m", "90s"]),
    (["run", "--budget", "soon"], ["soon", "90s"]),
    (["run", "--launches", "0"], ["at least 1"]),
    (["run", "--launches", "9" * 20], ["at most 10000"]),
    (["run", "--seed", "-3"], ["--seed -3", "at least 0"]),
    (["run", "--seed", "9" * 20], ["at most 2147483647"]),
    (["run", "--budget", "9" * 400], ["finite", "90s"]),
    (["run", "--only", "memory", "--set", f"size={'9' * 400}TiB"], ["whole, positive number of bytes"]),
    (["run", "--only", "collectives", "--set", f"ranks={'9' * 5000}"], ["at least 2"]),
    (["show", "9" * 5000], ["bench list runs"]),
    (["report", "9" * 5000], ["bench list runs"]),
    (["report", "nowhere", "--mtbf", "soon"], ["--mtbf", "soon", "90s"]),
    (["run", "--scratch", "nowhere"], ["--scratch nowhere", "writable folder"]),
    (["list", "runs", "--out", "9" * 5000], ["File name too long", "--out"]),
    (["run", "--set", "size"], ["KEY=VALUE"]),
    (["run", "--set", "sise=1KiB"], ["sise", "size"]),
    (["run", "--only", "collectives.all_reduce", "--set", "size=1001"], ["1001", "element"]),
    (["run", "--only", "collectives.all_reduce", "--set", "size=-4KiB"], ["-4KiB", "4KiB"]),
    (["run", "--only", "collectives.all_reduce", "--set", "dtype=float31"], ["float31", "float32"]),
    (["run", "--only", "collectives", "--set", "ranks=1"], ["ranks=1", "at least 2"]),
    (["run", "--resume", "nowhere"], ["nowhere", "bench list runs"]),
    (["show", "nowhere"], ["nowhere", "bench list runs"]),
    (["report", "nowhere"], ["nowhere"]),
    (["clusters", "show", "h10"], ["h100"]),
    (["clusters", "validate", "missing.toml"], ["missing.toml"]),
]


@pytest.mark.parametrize(("arguments", "words"), CASES, ids=[" ".join(case[0])[:60] for case in CASES])
def test_wrong_use_is_named(bench, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    result = bench(*arguments)
    assert result.code == 2, result.err
    assert not [word for word in words if word not in result.err], result.err
    assert not (tmp_path / "runs").exists()


def test_malformed_definition_names_file_line_and_key(bench, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text('name = "x"\nnodes = = 3\n')
    result = bench("run", "--cluster", "broken.toml")
    assert result.code == 2
    assert "broken.toml" in result.err
    assert "line 2" in result.err


def test_an_unwritable_folder_is_named_before_anything_runs(bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = bench("run", "--only", "gemm.square", "--set", "m=64", "--out", "file/runs")
    assert result.code == 2
    assert "file/runs" in result.err
    assert "--out" in result.err


def test_other_hardware_is_refused_with_both_sides_named(bench, tmp_path: Path) -> None:
    result = bench("run", "--cluster", "mi300x")
    assert result.code == 3
    assert "MI300X" in result.err
    assert "found" in result.err
    assert "--simulate" in result.err
    assert not (tmp_path / "runs").exists()


def test_help_names_the_exit_codes(bench) -> None:
    result = bench("--help")
    assert result.code == 0
    assert "exit codes" in result.out


def test_listing_imports_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    from bench_process import environment

    code = (
        "import sys; from bench.main import main; main(['list']);"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gemm.square" in done.stdout
    assert "mi300x" in done.stdout


def test_list_gives_each_kind_as_objects_with_a_name(bench) -> None:
    document = bench("list", "--json").document
    assert set(document) == {"benchmarks", "clusters", "suites", "runs"}
    assert {"local", "h100", "mi300x"} <= {row["name"] for row in document["clusters"]}
    assert [row["name"] for row in document["suites"]] == ["quick", "standard", "full"]
    assert list(bench("list", "runs", "--json").document) == ["runs"]


def test_dry_run_plans_all_devices_without_having_them(bench, tmp_path: Path) -> None:
    document = bench("run", "--cluster", "mi300x", "--dry-run", "--json").document
    assert document["cluster"] == "mi300x"
    assert document["devices"] == 1024
    cell = next(cell for cell in document["cells"] if cell["benchmark"] == "collectives.all_reduce")
    assert cell["params"]["ranks"] == cell["ranks"] == 1024
    assert "--nproc-per-node=8" in cell["argv"]
    assert "harness.worker" in cell["argv"]
    assert cell["seconds"] > 0
    assert not (tmp_path / "runs").exists()


def test_doctor_says_what_is_skipped_and_why(bench) -> None:
    document = bench("doctor", "--json").document
    gemm = next(row for row in document["benchmarks"] if row["name"] == "gemm.square")
    assert gemm["runs"]
    if document["accelerator"] == "cpu":
        assert "float8" in gemm["skipped"]
    assert all(check["get"] for check in document["checks"])


def test_a_damaged_run_is_named_by_every_command_that_reads_it(bench, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "damaged"
    run.mkdir(parents=True)
    for damage in (b'{"schema": 1, "id"', b'{"schema": 1, "id": "\xff"}', b"", b"[]"):
        (run / "run.json").write_bytes(damage)
        for arguments in (["show", "damaged"], ["run", "--resume", str(run)], ["report", "damaged"]):
            result = bench(*arguments, "--json")
            assert (result.code, result.out) == (2, "")
            assert "run.json" in result.err
        assert "run.json" in bench("list", "runs").err
