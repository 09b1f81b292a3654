"""`bench run --only e2e.local_steps` as a user has it: what is stored, what is flagged, what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import catalog, parameters
from e2e.local import LocalParams, fits, job_of, on_the_link
from e2e.local.results import measurements, wrong
from e2e.local.told import METHODS, Job, Told
from harness import store
from harness.errors import Skip, UsageError
from harness.records import Measurement, Ok, Origin, Record, Skipped
from harness.summary import cells

ROOT = Path(__file__).resolve().parents[2]
MODEL = """
title = "small"
source = "made up"
layers = 1
hidden = 32
heads = 2
kv_heads = 1
head_dim = 16
ffn = 64
vocabulary = 64
context = 64
"""
WEIGHTS = 2 * 64 * 32 + 32 + 2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64
BANDWIDTH, H, BATCH, SEQUENCE = 2e6, 3, 2, 16


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "small.toml").write_text(MODEL)
    done = subprocess.run(
        [sys.executable, "-m", "bench.main", "run", "--only", "e2e.local_steps", "--no-report", "--set",
         "model=small.toml", "--set", f"sequence={SEQUENCE}", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def stored(folder: Path) -> Record:
    (path,) = (folder / "runs").iterdir()
    return store.read(path).records[0]


def by_method(record: Record, metric: str) -> dict[object, Measurement]:
    return {one.params["method"]: one for one in record.measurements if one.metric == metric}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run on a declared link so slow that DDP spends 0.08 s or more of a round on it."""
    folder = tmp_path_factory.mktemp("slow")
    done = bench(
        folder, "--set", f"bandwidth={BANDWIDTH}", "--set", f"local_steps={H}", "--set", "seconds=0.1", "--set",
        "learning_rate=0.01", "--set", "rounds=8", "--set", "seeds=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return stored(folder)


def test_a_declared_link_costs_its_time_and_says_so(slow: Record) -> None:
    """Nothing is faster than the link: a lower bound holds on a busy machine too."""
    assert isinstance(slow.outcome, Ok)
    times = by_method(slow, "time.streaming")
    assert list(times) == list(METHODS)
    least = 4 * WEIGHTS / BANDWIDTH  # s of one all-reduce on two ranks
    for method, exchanges in (("ddp", H), ("diloco", 1), ("noloco", 2)):
        assert min(times[method].samples) >= exchanges * least * 0.999, method
        assert len(times[method].samples) >= 6
        assert any("declared, not shaped" in flag for flag in times[method].evidence.flags)
    assert list(by_method(slow, "wait")) == ["diloco", "co2", "noloco"]


def test_bytes_for_each_token_are_those_of_the_formula(slow: Record) -> None:
    """Also of a whole run: rounds that are not timed must not count."""
    each, size = BATCH * SEQUENCE, 4 * WEIGHTS
    found = {method: one.samples for method, one in by_method(slow, "sent").items()}
    expected = {"ddp": size / each, "diloco": size / each / H, "co2": size / each / H, "noloco": 2 * size / each / H}
    assert {method: pytest.approx(value) for method, (value,) in found.items()} == expected


def test_every_method_learns_and_is_held_against_ddp(slow: Record) -> None:
    """From ln 64 = 4.16 nats a token: within 24 steps a method whose outer step loses what was learned would stay
    there, or leave it upwards."""
    losses, ratios = by_method(slow, "loss"), by_method(slow, "loss_ratio")
    for method in METHODS:
        assert len(losses[method].samples) == 2
        assert max(losses[method].samples) < 4.1, method
    assert {method: len(one.samples) for method, one in ratios.items()} == {"diloco": 2, "co2": 2, "noloco": 2}
    assert ratios["co2"].samples[0] == losses["co2"].samples[0] / losses["ddp"].samples[0]
    assert by_method(slow, "spread")["noloco"].samples == (0.0,)  # two ranks are one pair


def test_speedups_are_of_the_same_turn_and_figures_are_told_apart(slow: Record) -> None:
    times, speedups = by_method(slow, "time.streaming"), by_method(slow, "speedup")
    pairs = zip(times["ddp"].samples, times["co2"].samples, strict=True)
    assert speedups["co2"].samples == tuple(ddp / taken for ddp, taken in pairs)
    (cell,) = cells([slow])
    tokens = [one for one in cell.figures if one.name == "tokens"]
    assert len(tokens) == len(METHODS)
    assert tokens[0].interval.value == pytest.approx(H * BATCH * SEQUENCE / tokens[0].summary.interval.value)
    assert all(one.evidence.width is None for one in slow.measurements)  # a revisit would train the same seeds again


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("local_steps=0", "local_steps=0: a round has at least one step; the nearest is 1"),
        ("bandwidth=-1", "bandwidth=-1: B/s of a link; the nearest is 0"),
        ("bandwidth=nan", "bandwidth=nan: B/s of a link"),
        ("ranks=1", "ranks"),
        ("rounds=0", "rounds"),
        ("learning_rate=0", "learning_rate"),
        ("dtype=float8", "accepted are bfloat16, float32. Near: float32"),
        ("model=tinny", "Near: tiny"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(setting: str, words: str) -> None:
    asked = {key: one for key, (one,) in parameters.parse_settings([setting]).items()}
    with pytest.raises(UsageError, match=re.escape(words)):
        parameters.complete(catalog.benchmarks()["e2e.local_steps"], asked)


def test_one_rank_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = bench(tmp_path, "--set", "ranks=1")
    assert done.returncode == 2
    assert "ranks=1" in done.stderr
    assert "2" in done.stderr


def test_a_simulated_cluster_skips_it(tmp_path: Path) -> None:
    assert bench(tmp_path, "--cluster", "h100", "--simulate").returncode == 0
    outcome = stored(tmp_path).outcome
    assert isinstance(outcome, Skipped)
    assert "trains nothing" in outcome.reason


def told(**other: object) -> tuple[Told, Job]:
    same = dict.fromkeys(METHODS, (1.0, 2.0))
    losses: dict[str, tuple[float | None, ...]] = dict.fromkeys(METHODS, (2.0, 3.0))
    held = {"losses": losses, "spread": dict.fromkeys(METHODS, 0.0), "sent": dict.fromkeys(METHODS, 8.0), **other}
    params = LocalParams()
    job = Job(params.asked(3, 1), "cpu", H, 0.0, 1.0, 2, (1, 2))
    return Told(parameters=1, stopped="turns", times=same, waited={}, **held), job


def test_a_seed_that_diverged_is_counted_and_the_others_stand() -> None:
    losses = {"ddp": (2.0, 4.0), "diloco": (None, 3.0), "co2": (None, None), "noloco": (2.0, 4.0)}
    held = measurements(*told(losses=losses), 3, Origin.MEASURED)
    found = {(one.metric, one.params["method"]): one.samples for one in held}
    assert found["diverged", "diloco"] == (1,)
    assert found["loss", "diloco"] == (3.0,)
    assert found["loss_ratio", "diloco"] == (0.75,)
    assert found["diverged", "co2"] == (2,)
    assert ("loss", "co2") not in found
    assert ("diverged", "ddp") not in found


def test_ranks_that_drifted_apart_give_no_number() -> None:
    apart = dict.fromkeys(METHODS, 0.0) | {"noloco": 0.5}
    assert wrong(told(spread=apart)[0]) == ""
    assert "co2: after an outer step the ranks' weights differ" in wrong(told(spread=apart | {"co2": 0.01})[0])


def test_an_odd_rank_is_said() -> None:
    (flags,) = {
        one.evidence.flags for one in measurements(*told(), 3, Origin.MEASURED) if one.metric == "time.streaming"
    }
    assert any("one sits out" in flag for flag in flags)


def place(backend: str = "gloo", free: int = 1 << 30, launch: int = 0) -> SimpleNamespace:
    """A context as far as what comes before any process looks at it."""
    device = SimpleNamespace(name="cpu", backend=lambda: backend, memory_free=lambda: free)
    return SimpleNamespace(accelerator=device, per_node=2, seed=1, launch=launch)


def test_a_bandwidth_is_declared_only_where_waiting_is_the_hosts() -> None:
    """NCCL's transfers are waited for by the device: a host that sleeps would slow nothing down, or the wrong thing."""
    with pytest.raises(Skip, match="shape the link itself"):
        job_of(place("nccl"), LocalParams(bandwidth=1e6))
    assert job_of(place("nccl"), LocalParams()).bandwidth == 0


def test_each_launch_draws_seeds_of_its_own() -> None:
    """Launches that trained on the same data would look like certainty."""
    first, second = (job_of(place(launch=at), LocalParams(seeds=3)) for at in (0, 1))
    assert len({*first.seeds, *second.seeds, first.asked.seed, second.asked.seed}) == 8


def test_a_model_without_room_is_skipped_before_it_starts() -> None:
    job = job_of(place(), LocalParams())
    fits(place(free=1 << 40), job)
    with pytest.raises(Skip, match="free: take fewer layers or a smaller model"):
        fits(place(free=1 << 20), job)


def test_a_slow_link_is_given_the_time_that_it_takes() -> None:
    """Else a job on a very slow link would be ended for being as slow as it was asked to be."""
    assert on_the_link(job_of(place(), LocalParams())) == 0
    slow, slower = (on_the_link(job_of(place(), LocalParams(bandwidth=rate))) for rate in (2e6, 1e6))
    assert slower == 2 * slow > 0
