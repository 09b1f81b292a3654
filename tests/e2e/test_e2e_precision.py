"""That the products of a bfloat16 job are in bfloat16: losses of one in float32 are as near to them as rounding is, so
they would not tell, and its tokens per second would stand for a data type that was not used."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import torch
import torch.distributed as dist
from e2e_losses import job, small
from torch import nn

from e2e import data, trainers
from e2e.asked import Asked
from e2e.layout import Layout
from harness import children
from harness.child import Place
from harness.records import Struct

JOBS: dict[str, Asked] = {
    name: job(name.split(",")[0], small(), dtype="bfloat16", **other)
    for name, other in {
        "torch, DDP": {},
        "torch, FSDP2": {"stage": 3},
        "torch, pipeline": {"layout": Layout(pipeline=2)},
        "deepspeed, stage 0": {},
        "deepspeed, stage 3": {"stage": 3},
        "megatron": {},
    }.items()
}  # fmt: skip


class Spec(Struct, frozen=True):
    jobs: dict[str, Asked]


class Told(Struct, frozen=True):
    """By job: the types of what the products of a step gave."""

    products: dict[str, list[str]]


def products(place: Place) -> Told:
    """On every rank."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = Told({name: _of(asked) for name, asked in place.read(Spec).jobs.items()})
    dist.barrier()
    return found


def _of(asked: Asked) -> list[str]:
    trainer = trainers.build(asked, torch.device("cpu"))
    model: nn.Module = trainer.engine.module if asked.trainer == "deepspeed" else trainer.network  # type: ignore[attr-defined]
    seen = set[str]()

    def look(module: nn.Module, taken: object, given: object) -> None:
        seen.add(str((given[0] if isinstance(given, tuple) else given).dtype))  # type: ignore[attr-defined]

    for name, module in model.named_modules():
        if name.endswith((".q", ".projection", ".down", "linear_qkv", "linear_fc1", "linear_fc2")):
            module.register_forward_hook(look)
    rows = data.batch(0, 0, asked.batch, trainer.data_rank, trainer.data_ranks, asked.sequence + 1, 256)
    trainer.step(torch.from_numpy(rows), trainers.unmarked)
    trainer.close()
    return sorted(seen)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")
def test_products_are_of_the_type_that_was_asked_for(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work(f"{Path(__file__).stem}:products", Spec(JOBS), 2, environment={"PYTHONPATH": path})
    ended = children.run(work, tmp_path / "world", 200)
    assert all(one.ok for one in ended), ended[0].log
    for one in ended:
        found = msgspec.json.decode(one.result, type=Told).products
        assert found == {name: ["torch.bfloat16"] for name in JOBS}
