"""torch.save of each rank's part to its final name: the baseline, as people write it. No manifest, no checksum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from microbench.checkpoint.engines import Damaged, Foreign
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    import torch

    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState

FILE = "rank-{:05d}.pt"


class TorchFile:
    """A file for each rank: {world, tensors}."""

    name = "torch"
    background = False
    notes = ("torch.save does not fsync: the benchmark does, after training has gone on",)

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch

        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        folder.mkdir(exist_ok=True)
        path = folder / FILE.format(rank)
        torch.save({"world": world, "tensors": parts(state.tensors())}, path)
        return Then(lambda: sync_all([path], folder))

    def load(self, state: TrainingState, folder: Path) -> None:
        import torch

        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        path = folder / FILE.format(rank)
        saved = len(list(folder.glob("rank-*.pt"))) if folder.is_dir() else 0
        if not saved:
            raise Damaged(f"{folder}: no file of any rank is there")
        if not path.exists() and saved < world:
            raise Foreign(f"{folder} has files of {saved} ranks and is loaded by {world}: shards are not reshaped")
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what a damaged file makes of it is not said anywhere
            raise Damaged(f"{path.name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}") from error
        take(state, held, world)

    def complete(self, folder: Path) -> bool:
        """Its files are there: how much of them is not to be seen."""
        return any(folder.glob("rank-*.pt"))

    def close(self) -> None:
        return


def parts(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """This rank's, by name."""
    from torch.distributed.tensor import DTensor

    return {name: t.to_local() if isinstance(t, DTensor) else t for name, t in tensors.items()}


def take(state: TrainingState, held: object, world: int) -> None:
    """Go on from what one rank saved, {world, tensors}. Raises Foreign where it is another's; nothing is taken then."""
    if not isinstance(held, dict) or held.keys() != {"world", "tensors"}:
        raise Foreign("a file that this engine has not written: it holds no 'world' and 'tensors'")
    if held["world"] != world:
        raise Foreign(f"saved by {held['world']} ranks, loaded by {world}: shards are not reshaped")
    wanted = state.tensors()
    mine, saved = parts(wanted), held["tensors"]
    if mine.keys() != saved.keys():
        odd = sorted(mine.keys() ^ saved.keys())[0]
        raise Foreign(f"of another model: {len(saved)} tensors, {len(mine)} here; '{odd}' is in one of them only")
    for name, tensor in mine.items():
        if tensor.shape != saved[name].shape or tensor.dtype != saved[name].dtype:
            raise Foreign(f"of another model: '{name}' is {_say(saved[name])} there, {_say(tensor)} here")
    for name, tensor in mine.items():
        tensor.copy_(saved[name])
    state.adopt(wanted)


def _say(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}"
