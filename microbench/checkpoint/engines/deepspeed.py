"""DeepSpeed's own checkpoint of a model under ZeRO: a file of partitions for each rank, one of the model's states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from microbench.checkpoint.engines import Damaged, Foreign
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState
    from microbench.checkpoint.zero_state import ZeroState


class DeepSpeed:
    """Synchronous, by torch.save, without a manifest."""

    name = "deepspeed"
    background = False
    notes = (
        "DeepSpeed does not fsync: the benchmark does, after training has gone on",
        "DeepSpeed reads its files without torch's weights_only",
    )

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch

        small = {name: tensor for name, tensor in _zero(state).tensors().items() if name in ("random", "progress")}
        _zero(state).engine.save_checkpoint(str(folder.parent), folder.name, client_state=small, save_latest=False)
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return Then(lambda: sync_all(sorted(folder.iterdir())[rank::world], folder))

    def load(self, state: TrainingState, folder: Path) -> None:
        zero = _zero(state)
        if not self.complete(folder):
            raise Damaged(f"{folder}: no file of the model's states or none of the optimizer's")
        try:
            path, small = zero.engine.load_checkpoint(str(folder.parent), folder.name)
        except Exception as error:
            first = str(error).splitlines()[0][:200] if str(error) else ""
            kind = Foreign if "size mismatch" in str(error) or "world size" in str(error) else Damaged
            raise kind(f"{type(error).__name__}: {first}") from error
        if path is None:
            raise Damaged(f"{folder}: DeepSpeed finds no checkpoint there")
        zero.adopt(small)

    def complete(self, folder: Path) -> bool:
        """Files of both kinds are there: how much of them is not to be seen."""
        return any(folder.glob("*model_states.pt")) and any(folder.glob("*optim_states.pt"))

    def close(self) -> None:
        return


def _zero(state: TrainingState) -> ZeroState:
    from microbench.checkpoint.zero_state import ZeroState

    if not isinstance(state, ZeroState):
        raise TypeError(f"DeepSpeed saves a state under ZeRO, and this one is sharded by {state.shape.sharding}")
    return state
