"""How a model is spread over ranks: fully sharded, tensor parallel, or whole on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from microbench.checkpoint.model import Sizes

Sharding = Literal["fsdp", "tp", "ddp", "zero2", "zero3"]
"""The last two are DeepSpeed's, of which zero_state.py makes the state."""


def place(shape: Sizes, sharding: Sharding, device: torch.device) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(module to call, module that holds the parameters), without content yet: nothing is drawn that a fill or a
    load replaces."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh

    from microbench.checkpoint.model import build

    with torch.device("meta"):
        model = build(shape)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    if sharding == "fsdp":
        _shard(model, mesh)
    elif sharding == "tp":
        _split(model, mesh)
    model.to_empty(device=device)
    if sharding == "ddp" and mesh.size() > 1:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()  # compared over ranks when it is wrapped
        return torch.nn.parallel.DistributedDataParallel(model), model
    return model, model


def _shard(model: torch.nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _split(model: torch.nn.Module, mesh: DeviceMesh) -> None:
    """Megatron's way (Shoeybi et al., arXiv 1909.08053): columns of the first products, rows of the second;
    embedding and head by vocabulary."""
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    block = {name: ColwiseParallel() for name in ("q", "k", "v", "gate", "up")}
    rows = {name: RowwiseParallel() for name in ("o", "down")}
    for one in model.blocks:  # type: ignore[union-attr]
        parallelize_module(one, mesh, {**block, **rows})
    ends = {
        "embedding": RowwiseParallel(input_layouts=Replicate()),
        "head": ColwiseParallel(output_layouts=Replicate()),
    }
    parallelize_module(model, mesh, ends)
