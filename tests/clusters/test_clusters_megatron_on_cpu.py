"""Megatron's placement on a machine without a GPU: each thing that is redirected, in a process that is thrown away."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import torch

from clusters.accelerators import megatron_on_cpu
from harness import children
from harness.child import Place
from harness.records import Struct

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is redirected")


class Asked(Struct, frozen=True):
    what: str


class Found(Struct, frozen=True):
    placed: dict[str, str]
    kind: str
    queued: int
    drawn: tuple[float, ...]
    exchanged: tuple[float, ...]
    words: tuple[str, str]


def act(place: Place) -> Found | None:
    """What a child of these tests does."""
    if place.read(Asked).what == "late":
        import megatron.core.parallel_state  # noqa: F401

        megatron_on_cpu.redirect()
        return None
    return _redirected()


def _redirected() -> Found:
    words = (megatron_on_cpu.redirect(), megatron_on_cpu.redirect())
    import torch.distributed as dist
    from megatron.core.tensor_parallel import get_cuda_rng_tracker
    from megatron.core.tensor_parallel.random import initialize_rng_tracker

    made = {
        "empty": torch.empty(2, device="cuda"), "zeros": torch.zeros(2, device="cuda:0"),
        "ones": torch.ones(2, device=torch.cuda.current_device()), "tensor": torch.tensor([1.0], device="cuda"),
        "moved": torch.zeros(2).cuda(), "default": torch.zeros(2), "meta": torch.zeros(2, device="meta"),
    }  # fmt: skip
    initialize_rng_tracker()
    tracker = get_cuda_rng_tracker()
    tracker.add("one", 7)
    before = len(torch.cuda._queued_calls)
    drawn = []
    torch.manual_seed(3)
    for _ in range(2):
        with tracker.fork("one"):
            drawn.append(float(torch.rand(())))
    drawn.append(float(torch.rand(())))
    dist.init_process_group("gloo")
    got, counts = torch.empty(3), torch.tensor([3])
    dist.all_to_all_single(got, torch.arange(3.0), output_split_sizes=counts, input_split_sizes=counts)
    dist.destroy_process_group()
    return Found(
        {name: one.device.type for name, one in made.items()}, torch.zeros(1, dtype=torch.bfloat16).type(),
        len(torch.cuda._queued_calls) - before, tuple(drawn), tuple(got.tolist()), words,
    )  # fmt: skip


def run(what: str, folder: Path) -> children.Ended:
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work(f"{Path(__file__).stem}:act", Asked(what), environment={"PYTHONPATH": here})
    [ended] = children.run(work, folder / "world", 100)
    return ended


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    ended = run("all", tmp_path_factory.mktemp("redirected"))
    assert ended.ok, ended.log
    return msgspec.json.decode(ended.result, type=Found)


def test_what_megatron_asks_of_cuda_it_finds_on_the_host(found: Found) -> None:
    assert found.placed.pop("meta") == "meta", "only what names cuda is redirected"
    assert set(found.placed.values()) == {"cpu"}
    assert found.kind == "torch.cuda.BFloat16Tensor", "the optimizers sort parameters by this name"
    assert found.queued == 0, "each swap of a random state would be kept for a CUDA that never starts"
    assert found.exchanged == (0.0, 1.0, 2.0)
    assert found.words[0] == found.words[1] == megatron_on_cpu.WORDS, "a second trainer in one process is nothing new"


def test_random_states_are_apart(found: Found) -> None:
    """Dropout of one kind of parallelism goes on where it was, and leaves the process's own draws alone."""
    own, other = torch.Generator().manual_seed(7), torch.Generator().manual_seed(3)
    expected = [float(torch.rand((), generator=one)) for one in (own, own, other)]
    assert list(found.drawn) == expected


def test_after_megatron_it_is_too_late(tmp_path: Path) -> None:
    """It takes names of torch's on import: half of it would go to the host."""
    assert "megatron.core has been imported before" in run("late", tmp_path).reason


def test_a_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    zeros = torch.zeros
    with pytest.raises(RuntimeError, match="there is a GPU"):
        megatron_on_cpu.redirect()
    assert torch.zeros is zeros
