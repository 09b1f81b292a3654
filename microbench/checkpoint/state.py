"""The state of training that a checkpoint holds: parameters, Adam's moments, random state, data position, step.

Everything is in tensors under flat names, so that every engine saves the same: `model.X`,
`optimizer.exp_avg.X`, `optimizer.exp_avg_sq.X`, `optimizer.step.X` for a parameter X, `random` (the state of
the generator that draws the data, the same on every rank) and `progress` (step, sequences read, seed).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.records import Struct
from harness.units import Bytes
from microbench.checkpoint.model import VOCABULARY, sizes
from microbench.checkpoint.sharding import Sharding

if TYPE_CHECKING:
    import torch

MOMENTS = ("exp_avg", "exp_avg_sq")
SCALES = {"model": 0.02, "exp_avg": 1e-4, "exp_avg_sq": 1e-6}  # of random content: training goes on with it


class Shape(Struct, frozen=True):
    """What is trained. size: B of parameters and moments over all ranks, about: layers are whole. sequence: tokens
    that a rank reads in a step."""

    size: Bytes
    sharding: Sharding = "fsdp"
    seed: int = 0
    sequence: Annotated[int, msgspec.Meta(ge=2, le=1 << 16)] = 64
    device: Literal["cpu", "cuda"] = "cpu"


class TrainingState:
    """A model in training on the ranks of this process's world.

    optimizer: a step pre-hook on it runs before anything of the state changes.
    """

    def __init__(self, shape: Shape) -> None:
        """All ranks together; starts torch.distributed where it is not. Content is that of `fill(0)`."""
        import torch

        from microbench.checkpoint.sharding import place

        device = connect(shape.device)
        self.shape, self.device = shape, device
        self._call, self.model = place(sizes(shape.size), shape.sharding, device)
        fused = shape.sharding != "tp"  # which holds plain tensors (norms) beside distributed ones
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=fused)
        for parameter in self.model.parameters():
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=device),
                **{moment: torch.zeros_like(parameter, requires_grad=False) for moment in MOMENTS},
            }
        self._random = torch.Generator()
        self._progress = torch.tensor([0, 0, shape.seed])
        self.fill(0)

    @property
    def number(self) -> int:
        """Steps done."""
        return int(self._progress[0])

    @property
    def position(self) -> int:
        """Sequences read."""
        return int(self._progress[1])

    @property
    def bytes(self) -> int:
        """Of the whole state, each tensor once."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    def step(self) -> float:
        """Train on the next sequences; the loss of this rank's."""
        import torch

        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        one = self.shape.sharding == "tp"  # all ranks read the same
        drawn = torch.randint(VOCABULARY, (1 if one else world, self.shape.sequence + 1), generator=self._random)
        tokens = drawn[0 if one else rank].to(self.device)[None]
        logits = self._call(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._progress += torch.tensor([1, len(drawn), 0])
        return float(loss.detach())

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state by name; sharded ones are DTensors. Large ones are the state's own, to write from and to read
        into; `random` and `progress` are copies, which `adopt` takes in again."""
        held = dict(self._large())
        held["random"], held["progress"] = self._random.get_state(), self._progress.clone()
        return held

    def adopt(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what was read into `tensors`."""
        self._random.set_state(tensors["random"].cpu())
        self._progress.copy_(tensors["progress"])

    def fill(self, step: int) -> None:
        """Content that follows from (seed, step) alone, however many ranks share it."""
        for name, tensor in self._large():
            _local(tensor).copy_(self._content(name, tensor, step))
        self._random.manual_seed(number(f"{self.shape.seed} {step} random"))
        import torch

        self._progress.copy_(torch.tensor([step, 7 * step, self.shape.seed]))

    def differences(self, step: int) -> list[str]:
        """Names whose content on this rank is not, bit for bit, that of `fill(step)`."""
        import torch

        wrong = [n for n, t in self._large() if not torch.equal(_local(t), self._content(n, t, step))]
        return wrong + self._small_differences(step)

    def _small_differences(self, step: int) -> list[str]:
        import torch

        other = torch.Generator().manual_seed(number(f"{self.shape.seed} {step} random"))
        wrong = [] if torch.equal(other.get_state(), self._random.get_state()) else ["random"]
        expected = [step, 7 * step, self.shape.seed]
        return wrong + ([] if self._progress.tolist() == expected else ["progress"])

    def digests(self) -> dict[str, str]:
        """A digest of each tensor's part on this rank: equal ones are equal bit for bit."""
        return {name: _digest(tensor) for name, tensor in self.tensors().items()}

    def _large(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.model.named_parameters():
            yield f"model.{name}", parameter.detach()
            held = self.optimizer.state[parameter]
            yield from ((f"optimizer.{part}.{name}", held[part]) for part in (*MOMENTS, "step"))

    def _content(self, name: str, tensor: torch.Tensor, step: int) -> torch.Tensor:
        """This rank's part of the tensor's deterministic content."""
        import torch
        from torch.distributed.tensor import DTensor, distribute_tensor

        if name.startswith("optimizer.step."):
            return torch.full_like(tensor, float(step))
        content = whole(name, tensor.shape, self.shape.seed, step).to(self.device)
        if not isinstance(tensor, DTensor):
            return content
        placed = distribute_tensor(content, tensor.device_mesh, tensor.placements, src_data_rank=None)
        return placed.to_local()


def connect(kind: str = "cpu") -> torch.device:
    """Join this process's world, once; the device of this rank."""
    import torch

    device = torch.device("cpu")
    if kind == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.accelerator.set_device_index(device.index)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl")
    return device


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(name: str, shape: torch.Size, seed: int, step: int) -> torch.Tensor:
    """Deterministic content of a whole parameter or moment, on the host."""
    import torch

    kind = name.split(".")[0 if name.startswith("model.") else 1]
    drawn = torch.Generator().manual_seed(number(f"{seed} {step} {name}"))
    content = torch.randn(shape, generator=drawn).mul_(SCALES[kind])
    return content.abs_() if kind == "exp_avg_sq" else content


def number(text: str) -> int:
    return zlib.crc32(text.encode())


def _digest(tensor: torch.Tensor) -> str:
    import hashlib

    import torch

    held = _local(tensor).detach().contiguous().cpu().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(held.numpy().data, digest_size=16).hexdigest()
