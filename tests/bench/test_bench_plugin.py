"""Benchmarks of another package: found by entry point, run on real ranks that do not agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import store
from harness.records import Failed, Ok, Skipped

PLUGIN = """
from typing import Literal
from harness.accelerator import Operation
from harness.errors import Skip, WrongAnswer
from harness.records import Cadence, Rate, Struct
from harness.registry import benchmark
from harness.units import Unit

class Params(Struct, frozen=True):
    mode: Literal["fine", "skip0", "skip1", "wrong0", "wrong1"]
    again: int
    ranks: int

@benchmark("odd.ranks", version=1, params=Params, scope="group", rate="algbw")
def run(ctx, params):
    import torch
    import torch.distributed as dist
    from harness.sampling import Task
    if params.mode == f"skip{ctx.ranks.rank}":
        raise Skip("" if params.again else "not this rank")
    tensor = torch.zeros(16)
    def check():
        if params.mode == f"wrong{ctx.ranks.rank}":
            raise WrongAnswer("the sum is off")
    operation = Operation("collective", "all_reduce", "float32", bytes=64.0, ranks=2, shape=(16,))
    rates = (Rate("algbw", 64.0, Unit.BYTE_PER_SECOND),)
    return ctx.time(Task(operation, lambda i: dist.all_reduce(tensor), rates, check=check), [Cadence.ISOLATED])
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin's module, installed on the search path of every `bench` of the test."""
    info = tmp_path / "site" / "odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[bench.benchmarks]\nodd = odd_plugin\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    module = tmp_path / "site" / "odd_plugin.py"
    module.write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(module.parent))
    return module


def test_ranks_that_disagree_give_up_the_cell_together(bench, plugin: Path, tmp_path: Path) -> None:
    modes = "fine,skip0,skip1,wrong0,wrong1"
    result = bench("run", "--only", "odd", "--set", f"mode={modes}", "--set", "again=0,1", "--budget", "10s",
                   "--no-report", timeout=50)  # fmt: skip
    assert result.code == 1, result.err
    (path,) = (tmp_path / "runs").iterdir()
    outcomes = {(r.params["mode"], r.params["again"]): r.outcome for r in store.read(path).records}
    assert len(outcomes) == 10
    assert all(isinstance(outcomes["fine", again], Ok) for again in (0, 1))
    assert [outcomes[f"skip{rank}", 0] for rank in (0, 1)] == [
        Skipped("not this rank"), Skipped("rank 1: not this rank")
    ]  # fmt: skip
    assert all(isinstance(outcomes[f"skip{rank}", 1], Skipped) for rank in (0, 1))
    assert [outcomes[f"wrong{rank}", again] for rank in (0, 1) for again in (0, 1)] == [
        Failed(f"wrong answer: rank {rank}: the sum is off") for rank in (0, 0, 1, 1)
    ]


def test_a_plugin_that_does_not_import_is_named(bench, plugin: Path) -> None:
    plugin.write_text("import nothing_of_this_name\n")
    result = bench("list", "benchmarks")
    assert result.code == 3
    assert "odd_plugin" in result.err
    assert "nothing_of_this_name" in result.err
