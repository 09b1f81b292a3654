"""What a job tells of itself, each figure against one that is known without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
import torch.distributed as dist
from e2e_losses import job, small

from e2e import trainers
from e2e.data import batch
from e2e.gradient_noise import ONE, Norms
from e2e.job import _energy, _pairs
from e2e.mfu import fits
from e2e.results import measurements
from e2e.steps import Steps
from e2e.told import Told as Job
from harness import children, models
from harness.child import Place
from harness.errors import Skip
from harness.ranks import OneProcess
from harness.records import Origin, Struct


class Spec(Struct, frozen=True):
    stage: int = 0


class Told(Struct, frozen=True):
    """Squared norms of one step in which every sequence of the whole batch is the same."""

    small: tuple[float, ...]
    big: tuple[float, ...]
    b_small: float
    b_big: float


def alike(place: Place) -> Told:
    """One of several ranks: then any part of the batch has the gradient of the whole."""
    dist.init_process_group("gloo")
    asked = job("torch", small(), stage=place.read(Spec).stage)
    trainer = trainers.build(asked, torch.device("cpu"))
    norms = trainer.watch()
    assert not isinstance(norms, str)
    row = torch.from_numpy(batch(0, 0, 1, 0, 1, asked.sequence + 1, asked.model.vocabulary))
    for _ in range(3):
        trainer.step(row.repeat(asked.batch // trainer.data_ranks, 1), trainers.unmarked)
    found = Told(*norms.pairs(), norms.b_small, norms.b_big)
    dist.barrier()
    return found


@pytest.mark.parametrize(
    ("ranks", "stage", "b_small"), [(1, 0, 2), (2, 0, 2), (2, 3, 4)], ids=["one rank", "DDP", "FSDP2"]
)
def test_gradients_of_equal_sequences_are_equal_whatever_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, stage: int, b_small: int
) -> None:
    """A factor wrongly taken, of micro-batches or of ranks, would be in one of the two norms only. The big one is what
    clipping found, so it is also shown to be of gradients before they are clipped."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    work = children.Work(f"{Path(__file__).stem}:alike", Spec(stage), ranks)
    ended = children.run(work, tmp_path / "world", 200)
    assert all(one.ok for one in ended), ended[0].log
    for told in (msgspec.json.decode(one.result, type=Told) for one in ended):
        assert (told.b_small, told.b_big) == (b_small, 8)
        assert told.small == pytest.approx(told.big, rel=1e-4)
        assert told.big[0] > 1.05, "clipped to norm 1, this test would say nothing"


class Slowest(OneProcess):
    """A world in which another rank takes a second longer for everything."""

    def maximum(self, values: Sequence[float]) -> list[float]:
        return [value + 1.0 for value in values]


class Clock:
    """A stopwatch whose every region lasts as many hundredths as its number."""

    def start(self, index: int) -> None: ...

    def stop(self, index: int) -> None:
        self.count = index + 1

    def seconds(self) -> list[float]:
        return [at / 100 for at in range(self.count)]


def steps(ranks: OneProcess) -> Steps:
    accelerator = SimpleNamespace(stopwatch=lambda count: Clock(), synchronise=lambda: None)
    trainer = SimpleNamespace(data_rank=0, data_ranks=1, step=lambda tokens, phase: torch.zeros(()))
    return Steps(trainer, job("torch", small()), accelerator, ranks, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_step_takes_as_long_as_on_the_slowest_rank() -> None:
    assert steps(Slowest()).block(3) == [1.0, 1.01, 1.02]
    assert steps(OneProcess()).block(3) == [0.0, 0.01, 0.02]


class Probe:
    def __init__(self, *values: Mapping[str, float]) -> None:
        self._values = list(values)

    def read(self) -> Mapping[str, float]:
        return self._values.pop(0)


def test_energy_is_of_the_counter_else_of_the_power_else_absent() -> None:
    assert _energy(Probe({"energy": 70.0, "power": 5.0}), {"energy": 50.0, "power": 5.0}, 2.0, 0, False) == 20.0
    assert _energy(Probe({"power": 300.0}), {"power": 100.0}, 2.0, 0, False) == 400.0
    assert _energy(Probe({"clock": 1e9}), {"clock": 1e9}, 2.0, 0, False) is None
    assert _energy(Probe({"energy": 70.0}), {"energy": 50.0}, 2.0, 1, True) == 0.0, "a host's cores are counted once"


def test_a_job_without_a_noise_scale_says_why() -> None:
    """In its record, where a reader looks for it; a norm that is no number makes none, and no file that has NaN."""
    odd = Norms(1, 2)
    odd.observe_square(torch.tensor(4.0))
    odd.observe_norm(torch.tensor(float("nan")))
    for given, words in ((ONE, "only one gradient"), (odd, "no number")):
        told = Job(steps=(1.0,) * 10, **_pairs(given))
        (time, *others) = measurements(told, job("torch", small()), 1, Origin.MEASURED)
        assert any("no gradient noise scale" in flag and words in flag for flag in time.evidence.flags)
        assert not any(one.metric.startswith("gradient") for one in others)


def test_a_model_without_room_names_the_layers_that_have_it() -> None:
    asked = job("torch", models.load("llama3-8b"), dtype="bfloat16")
    context = SimpleNamespace(accelerator=SimpleNamespace(memory_free=lambda: 80 * 10**9, name="cuda"), per_node=8)
    with pytest.raises(Skip, match="layers=") as said:
        fits(context, asked, 8)  # type: ignore[arg-type]
    assert "119.7 GiB" in str(said.value), "16 B of each of 8.03 B parameters"
    fits(context, msgspec.structs.replace(asked, stage=3), 8)  # type: ignore[arg-type]
