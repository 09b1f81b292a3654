"""What a world of training processes is asked for, and what each of them tells."""

from __future__ import annotations

from typing import Literal

from harness.models import Model
from harness.records import Struct

Tier = Literal["none", "cpu", "nvme"]
KINDS = ("read", "write")


class Asked(Struct, frozen=True):
    """stage: ZeRO's. optimizer, parameters: the tier that they are offloaded to. folder: where swap files go.
    warmup, steps: how many. seed: of initial weights and of tokens. device: on it each rank trains."""

    stage: int
    optimizer: Tier
    parameters: Tier
    model: Model
    sequence: int
    batch: int
    dtype: Literal["float32", "bfloat16"]
    folder: str
    warmup: int
    steps: int
    seed: int

    @property
    def offloads(self) -> bool:
        return (self.optimizer, self.parameters) != ("none", "none")

    @property
    def swaps(self) -> bool:
        return "nvme" in (self.optimizer, self.parameters)


class Moved(Struct, frozen=True):
    """Traffic of one kind in one phase of a step: B, and s that the step stood still for it."""

    phase: str  # "forward", "backward", "step"
    kind: str  # one of KINDS
    size: int
    blocked: float


class Step(Struct, frozen=True):
    """One training step. Phases in s, which make up the whole step; `optimizer` is the part of the phase `step` that
    Adam itself takes, `moved` what of each phase is spent on swapping."""

    forward: float
    backward: float
    step: float
    optimizer: float
    loss: float
    moved: tuple[Moved, ...] = ()

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.step


class Replay(Struct, frozen=True):
    """The swaps of one step done again by themselves: s by kind; forward: of both together, those of that phase."""

    read: float
    write: float
    forward: float


class Told(Struct, frozen=True):
    """What one rank measured. refused: DeepSpeed's own words where it does not take the combination; nothing else is
    there then. memory: B beyond what the process held before it built the model, by tier: "host" (greatest
    resident), "device" (greatest allocated; absent where that is the host's), "nvme" (in the swap folder).
    base: steps of the same stage with nothing offloaded, in turn with `steps`. reference: losses of stage 0."""

    refused: str = ""
    parameters: int = 0
    steps: tuple[Step, ...] = ()
    losses: tuple[float, ...] = ()
    base: tuple[Step, ...] = ()
    replays: tuple[Replay, ...] = ()
    reference: tuple[float, ...] = ()
    memory: dict[str, int] = {}
    device: str = ""
