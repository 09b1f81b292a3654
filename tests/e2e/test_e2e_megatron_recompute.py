"""What megatron-core keeps from forward to backward: less, the more it is asked to work out again. Losses alone would
not show a switch that does nothing."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import torch
from e2e_losses import job, small

from e2e.asked import Recompute
from harness import children
from harness.child import Place
from harness.records import Struct

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")

SEQUENCE = 128


class Kept(Struct, frozen=True):
    """By kind of recomputation: B that autograd kept from one forward, weights too."""

    sizes: dict[Recompute, int]


def keep(_: Place) -> Kept:
    """What the child does."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    found = {kind: _kept(kind) for kind in get_args(Recompute)}
    dist.destroy_process_group()
    return Kept(found)


def _kept(kind: Recompute) -> int:
    from e2e import trainers

    seen: dict[int, int] = {}

    def packed(held: torch.Tensor) -> torch.Tensor:
        seen[held.untyped_storage().data_ptr()] = held.untyped_storage().nbytes()
        return held

    def phase(name: str) -> AbstractContextManager[object]:
        if name != "forward":
            return nullcontext()
        return torch.autograd.graph.saved_tensors_hooks(packed, lambda held: held)

    asked = job("megatron", small(), recompute=kind, batch=1, micro=1, sequence=SEQUENCE)
    trainer = trainers.build(asked, torch.device("cpu"))
    trainer.step(torch.zeros(1, SEQUENCE + 1, dtype=torch.int64), phase)
    trainer.close()
    return sum(seen.values())


def test_more_recomputation_keeps_less(tmp_path: Path) -> None:
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work(f"{Path(__file__).stem}:keep", Kept({}), environment={"PYTHONPATH": here})
    [ended] = children.run(work, tmp_path / "world", 100)
    assert ended.ok, ended.log
    sizes = msgspec.json.decode(ended.result, type=Kept).sizes
    scores = 4 * SEQUENCE * SEQUENCE * 4 * 2  # B: heads x queries x keys, float32, of 2 layers
    assert sizes["none"] - sizes["selective"] > 0.99 * scores, "the scores of attention are worked out again"
    assert sizes["full"] < sizes["selective"]
