"""Benchmarks by name: registering, finding, choosing, and plugins from other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.context import Context
from harness.errors import UsageError
from harness.records import Measurement, Struct
from harness.registry import Benchmark, benchmark, find, load, plugin_modules, select


class NoParams(Struct, frozen=True):
    pass


def nothing(ctx: Context, params: NoParams) -> list[Measurement]:
    """Measures nothing at all.

    And says so.
    """
    return []


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts with nothing registered, and leaves the suite's own benchmarks as they were."""
    monkeypatch.setattr(registry, "_registered", {})
    return


def register(*names: str) -> dict[str, Benchmark]:
    for name in names:
        benchmark(name, version=1, params=NoParams, scope="device", rate="flops")(nothing)
    return load([])


def test_a_benchmark_is_described_by_the_first_line_of_its_function() -> None:
    known = register("gemm.square")
    entry = known["gemm.square"]
    assert (entry.version, entry.run, entry.summary) == (1, nothing, "Measures nothing at all.")
    benchmark("gemm.other", version=1, params=NoParams, scope="group", rate="flops", summary="Another.")(nothing)
    assert load([])["gemm.other"].summary == "Another."


def test_names_are_sorted() -> None:
    assert list(register("memory.stream", "gemm.square", "collectives.all_reduce")) == [
        "collectives.all_reduce", "gemm.square", "memory.stream",
    ]  # fmt: skip


def test_a_second_function_under_a_name_raises() -> None:
    register("gemm.square")

    def other(ctx: Context, params: NoParams) -> list[Measurement]:
        return []

    with pytest.raises(ValueError, match=r"two benchmarks are called 'gemm\.square'"):
        benchmark("gemm.square", version=1, params=NoParams, scope="device", rate="flops")(other)
    assert load([])["gemm.square"].run is nothing


def test_registering_the_same_function_again_is_harmless() -> None:
    assert register("gemm.square", "gemm.square")["gemm.square"].run is nothing


def test_an_unknown_name_lists_near_matches_and_the_way_on() -> None:
    known = register("gemm.square", "memory.stream")
    with pytest.raises(UsageError, match=r"unknown benchmark 'gem\.squre'\. Near: gemm\.square.* See `bench list"):
        find("gem.squre", known)
    with pytest.raises(UsageError) as far:
        find("xyzzy", known)
    assert "Near" not in str(far.value)
    assert far.value.exit_code == 2


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["gemm.square"], ["gemm.square"]),
        (["collectives"], ["collectives.all_gather", "collectives.all_reduce"]),
        (["*.all_*"], ["collectives.all_gather", "collectives.all_reduce"]),
        (["memory.*", "gemm"], ["memory.stream", "gemm.square"]),
        (["gemm", "gemm.square"], ["gemm.square"]),
        (["gemm.s[a-z]*"], ["gemm.square"]),
        ([], []),
    ],
)
def test_select(patterns: list[str], chosen: list[str]) -> None:
    known = register("gemm.square", "memory.stream", "collectives.all_reduce", "collectives.all_gather")
    assert [entry.name for entry in select(patterns, known)] == chosen


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("gem", r"unknown benchmark 'gem'\. Near: gemm"), ("GEMM*", r"no benchmark matches 'GEMM\*'"), ("?", "matches")],
)
def test_a_pattern_that_selects_nothing_is_an_error(pattern: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        select([pattern, "gemm"], register("gemm", "gemm.square"))


PLUGIN = '''
from harness.records import Struct
from harness.registry import benchmark

class Params(Struct, frozen=True):
    pass

@benchmark("outside.thing", version=3, params=Params, scope="device", rate="flops")
def thing(ctx, params):
    """Comes from another package."""
    return []
'''


def test_another_package_adds_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution, as far as importlib.metadata can tell: a module and its dist-info."""
    (tmp_path / "outside_bench.py").write_text(PLUGIN)
    about = tmp_path / "outside_bench-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-bench\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.benchmarks]\nthing = outside_bench\n")
    assert "outside_bench" not in plugin_modules()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "outside_bench", sys)  # so that what the test imports is forgotten
    monkeypatch.delitem(sys.modules, "outside_bench")
    assert "outside_bench" in plugin_modules()
    entry = load(["outside_bench"])["outside.thing"]
    assert (entry.version, entry.summary) == (3, "Comes from another package.")
