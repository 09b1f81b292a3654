"""The four ways to train, each a course that takes round after round of the same sequences."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from e2e import data, network
from e2e.local.outer import CO2, DiLoCo, Flat, NoLoCo, Outer
from e2e.local.told import SYNCHRONOUS, Method
from e2e.local.wire import Wire, ring
from e2e.optimizers import Optimizers, clip

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket

    from e2e.asked import Asked

HELD, FIRST = 32, 1 << 40  # held-out sequences, and the number of the first: no job trains that far


class Replica:
    """A whole model on this rank with its inner optimizer. synchronous: gradients are averaged over ranks at every
    step, beside what is left of backward, by DDP as its users have it; else the rank trains by itself."""

    def __init__(self, asked: Asked, device: torch.device, wire: Wire, synchronous: bool) -> None:
        self.asked, self._wire, self._device = asked, wire, device
        with torch.device("meta"):
            self.network = network.Network(asked.model)
        self.network.to_empty(device=device)
        network.fill(self.network, asked.seed)
        self.parameters = list(self.network.parameters())
        self.optimizer = Optimizers(asked, self.network, None)
        self._called: nn.Module = self.network
        if synchronous:
            self._called = ddp = nn.parallel.DistributedDataParallel(self.network)
            if wire.bandwidth:
                ddp.register_comm_hook(wire, lambda link, bucket: _sent(link, bucket))  # torch compares annotations
        self._counted = synchronous and not wire.bandwidth

    def step(self, tokens: Tensor) -> None:
        """One step on (batch, sequence + 1) tokens."""
        with self._autocast():
            loss = network.mean_loss(self._called(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        if self._called is not self.network:
            self._arrived()
        clip(self.parameters)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _arrived(self) -> None:
        """Gradients have come as far as the link lets them. Where nothing holds it, nothing is put into DDP's way, and
        what it sends follows from the gradients that there are."""
        if self._counted:
            gradients = [one.grad.nbytes for one in self.parameters if one.grad is not None]
            self._wire.send(ring(sum(gradients), self._wire.world))
        self._wire.settle()

    @torch.no_grad()
    def loss(self, tokens: Tensor) -> float:
        """Mean over tokens, nats."""
        with self._autocast():
            return network.mean_loss(self.network(tokens[:, :-1]), tokens[:, 1:]).item()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.asked.dtype == "bfloat16":
            return torch.autocast(self._device.type, torch.bfloat16)
        return nullcontext()


def _sent(wire: Wire, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's own all-reduce of a bucket of gradients, counted as it begins."""
    wire.send(ring(bucket.buffer().nbytes, wire.world))
    assert dist.group.WORLD is not None
    return allreduce_hook(dist.group.WORLD, bucket)


class Course:
    """One method's training. asked.batch: sequences of a step over all ranks."""

    def __init__(self, method: Method, asked: Asked, device: torch.device, wire: Wire, local_steps: int) -> None:
        self.method, self._asked, self._wire, self._device = method, asked, wire, device
        self._local_steps, self._taken = local_steps, 0
        self.replica = Replica(asked, device, wire, method == SYNCHRONOUS)
        self._outer = _outer(method, self.replica.parameters, wire, asked.seed)

    def round(self) -> None:
        """So many steps, on sequences that no round had before, then the outer step."""
        for _ in range(self._local_steps):
            self.replica.step(self._tokens())
        if self._outer is not None:
            self._outer.step()

    def drain(self) -> None:
        """What is on its way arrives."""
        if self._outer is not None:
            self._outer.drain()

    def finish(self) -> None:
        """The last weights are in place."""
        if self._outer is not None:
            self._outer.finish()

    def _tokens(self) -> Tensor:
        asked = self._asked
        rows = data.batch(
            asked.seed, self._taken, asked.batch, self._wire.rank, self._wire.world, asked.sequence + 1,
            asked.model.vocabulary,
        )  # fmt: skip
        self._taken += 1
        return torch.from_numpy(rows).to(self._device, non_blocking=True)

    def held_out(self) -> float:
        """Mean loss of this rank's weights over the same sequences on every rank, nats a token."""
        asked, total = self._asked, 0.0
        rows = data.sequences(asked.seed, FIRST, HELD, asked.sequence + 1, asked.model.vocabulary)
        for part in torch.split(torch.from_numpy(rows).to(self._device), asked.micro):
            total += self.replica.loss(part) * len(part)
        return total / HELD

    @torch.no_grad()
    def spread(self) -> float:
        """Standard deviation of the weights over ranks against their root mean square, both over all weights."""
        own = Flat(self.replica.parameters).read()
        mean = own.clone()
        dist.all_reduce(mean)
        mean /= self._wire.world
        both = torch.stack([(own - mean).square().mean(), own.square().mean()])
        dist.all_reduce(both)
        return float((both[0] / both[1]).sqrt())


def _outer(method: Method, parameters: list[nn.Parameter], wire: Wire, seed: int) -> Outer | None:
    if method == "diloco":
        return DiLoCo(parameters, wire)
    if method == "co2":
        return CO2(parameters, wire)
    return NoLoCo(parameters, wire, seed) if method == "noloco" else None
