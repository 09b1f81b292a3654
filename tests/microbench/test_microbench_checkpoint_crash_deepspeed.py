"""Kills of saves by DeepSpeed: forked worlds with its engine, its converter's processes among what is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from harness import children
from microbench.checkpoint.engines import refuses, usual
from microbench.checkpoint.outcomes import Outcome
from microbench.checkpoint.state import Shape
from microbench.checkpoint.trials import Answer, Asked, carry_out

if TYPE_CHECKING:
    from harness.child import Place

SIZE = 4 << 20  # B: a state of the smallest kind
LIMIT = 90.0  # s of one world


def real(place: Place) -> Answer:
    return carry_out(place.read(Asked), place.folder)


@pytest.mark.parametrize(("engine", "trials", "ranks"), [("deepspeed", 2, 2), ("deepspeed_universal", 1, 1)])
def test_a_killed_save_leaves_the_one_before_it_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, trials: int, ranks: int
) -> None:
    """`carry_out` itself raises where saves without a fault do not load. A converter that outlived its rank would go on
    writing to the checkpoint of a node that is gone."""
    reason = refuses(engine, 2, "cpu", tmp_path)
    if reason is not None:
        pytest.skip(reason)
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))
    work = tmp_path / "work"
    work.mkdir()
    asked = Asked(engine, Shape(SIZE, usual(engine)), "kill", trials, ranks, 5, str(work), LIMIT)
    (ended,) = children.run(children.Work(f"{Path(__file__).stem}:real", asked), tmp_path / "world", 270)
    assert ended.ok, ended.log
    answer = msgspec.json.decode(ended.result, type=Answer)
    assert len(answer.trials) == trials
    assert all(trial.save and trial.moment is not None for trial in answer.trials), "kills came within saves"
    wrong = {Outcome.SILENT, Outcome.LOST, Outcome.NONE}  # two earlier ones were durable, and nothing touched them
    assert not {trial.outcome for trial in answer.trials} & wrong, answer.trials
    held = [
        process for process in psutil.process_iter(["cmdline"]) if str(work) in " ".join(process.info["cmdline"] or ())
    ]
    assert held == []
    assert [path.name for path in work.iterdir()] == ["base"]
