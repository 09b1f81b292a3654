"""Megatron-core's dist_checkpointing of the same state: its description of shards, its planning, torch's format."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusters.accelerators.placement import on_host
from microbench.checkpoint.engines import Damaged, Foreign
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    import torch

    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState

METADATA = ".metadata"


class Megatron:
    """Synchronous. Shards must be of one size on all ranks, which its description asks for."""

    name = "megatron"
    background = False
    notes = (
        "the benchmark fsyncs files and folder after the save: not every writer of this engine does",
        "on a CPU its calls to wait for a CUDA device are left out",
    )

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        with _quiet():
            import megatron.core.dist_checkpointing.strategies.torch  # noqa: F401 (here, so that no save pays for it)

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch

        rank = torch.distributed.get_rank()
        if rank == 0:
            folder.mkdir()
        torch.distributed.barrier()
        with _quiet(), on_host(state.device.type):
            from megatron.core import dist_checkpointing

            dist_checkpointing.save(_described(state.tensors()), str(folder), async_sharded_save=False)
        mine = sorted(path for path in folder.iterdir() if path.name.startswith(f"__{rank}_") or rank == 0)
        return Then(lambda: sync_all(mine, folder))

    def load(self, state: TrainingState, folder: Path) -> None:
        tensors = state.tensors()
        if not self.complete(folder):
            raise Damaged(f"{folder}: no {METADATA}: the save did not end")
        try:
            with _quiet(), on_host(state.device.type):
                from megatron.core import dist_checkpointing

                held = dist_checkpointing.load(_described(tensors), str(folder))
        except Exception as error:
            text = f"{type(error).__name__}: {str(error)[:200]}"
            if "mismatch" in text.lower() or "not found in" in text:
                raise Foreign(text) from error
            raise Damaged(text) from error
        for name, tensor in tensors.items():
            _local(tensor).copy_(held[name].reshape(_local(tensor).shape))
        state.adopt(tensors)

    def complete(self, folder: Path) -> bool:
        return (folder / METADATA).is_file() and (folder / "metadata.json").is_file()

    def close(self) -> None:
        return


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what it warns of on import and on every save."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _described(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Each tensor with its place in the whole one."""
    import torch
    from megatron.core.dist_checkpointing import ShardedTensor
    from torch.distributed.tensor import DTensor, Shard

    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    described: dict[str, Any] = {}
    for name, tensor in tensors.items():
        local = _local(tensor)
        local = local.reshape(1) if not local.dim() else local
        placed = tensor.placements[0] if isinstance(tensor, DTensor) else None
        if isinstance(placed, Shard):
            if tensor.shape[placed.dim] % world:
                raise ValueError(f"'{name}' of {tuple(tensor.shape)} does not divide by {world} ranks")
            described[name] = ShardedTensor.from_rank_offsets(name, local, (placed.dim, rank, world))
        else:
            described[name] = ShardedTensor.from_rank_offsets(name, local, replica_id=rank)
    return described


def _local(tensor: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
