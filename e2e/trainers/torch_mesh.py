"""Torch's ways of dividing a network over a device mesh: FSDP2 over data ranks, DTensor over tensor ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from e2e.trainers import Refused

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from e2e.asked import Asked
    from e2e.layout import Layout
    from e2e.network import Network
    from harness.models import Model


def mesh_of(layout: Layout, world: int, device: str) -> DeviceMesh:
    """pipeline x data x tensor; tensor ranks are neighbours, since they talk most."""
    shape = (layout.pipeline, layout.data(world), layout.tensor)
    return init_device_mesh(device, shape, mesh_dim_names=("pipeline", "data", "tensor"))


def shard(network: Network, data: DeviceMesh, asked: Asked, whole: bool) -> None:
    """FSDP2, a layer at a time. whole: parameters stay gathered from forward to backward, which is ZeRO stage 2."""
    reduced = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if asked.dtype == "bfloat16" else None,
        reduce_dtype=torch.float32 if asked.dtype == "bfloat16" else None,
    )
    lies = CPUOffloadPolicy(pin_memory=data.device_type != "cpu") if asked.offload == "cpu" else OffloadPolicy()
    held: dict[str, Any] = {"mesh": data, "mp_policy": reduced, "offload_policy": lies}
    for each in network.layers.values():
        fully_shard(each, **held, reshard_after_forward=not whole)
    fully_shard(network, **held, reshard_after_forward=False)  # its own are needed again at once


def split(network: Network, tensor: DeviceMesh, model: Model, sequence: bool) -> None:
    """Megatron's way (Shoeybi et al., arXiv 1909.08053): columns of the first products, rows of the second, embedding
    and output by vocabulary. sequence: what lies between is shared out over the sequence's positions."""
    if model.experts > 1:
        raise Refused("tensor parallel experts: the torch trainer divides dense layers only; megatron divides these")
    if model.biases or model.positions == "learned" or model.tied:
        raise Refused("biases, learned positions and a tied output are not divided by the torch trainer; megatron does")
    network.parts = tensor.size() if sequence else 1
    for each in network.layers.values():
        parallelize_module(each, tensor, _layer_plan(sequence))
    parallelize_module(network, tensor, _ends_plan(network, sequence))


def _layer_plan(sequence: bool) -> dict[str, Any]:
    columns = ("attention.q", "attention.k", "attention.v", "ffn.gate", "ffn.up")
    plan: dict[str, Any] = {name: ColwiseParallel() for name in columns}
    out = Shard(1) if sequence else Replicate()
    plan |= {name: RowwiseParallel(output_layouts=out) for name in ("attention.projection", "ffn.down")}
    if sequence:
        plan |= {name: SequenceParallel() for name in ("norm1", "norm2")}
        plan["attention"] = PrepareModuleInput(
            input_layouts=(Shard(1), None, None), desired_input_layouts=(Replicate(), None, None)
        )
        plan["ffn"] = PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),))
    return plan


def _ends_plan(network: Network, sequence: bool) -> dict[str, Any]:
    """Only the ends that this stage has."""
    out = Shard(1) if sequence else Replicate()
    plan: dict[str, Any] = {}
    if network.embedding is not None:
        plan["embedding"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=out)
    if network.output is not None:
        plan["output"] = ColwiseParallel(input_layouts=out, output_layouts=Replicate())
        if sequence:
            plan["norm"] = SequenceParallel()
    return plan
