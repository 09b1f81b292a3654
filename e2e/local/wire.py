"""This rank's link: what is sent is counted, and may be held to a declared bandwidth.

A declared bandwidth is a model of a slow link with real time in it. What a rank sends really goes to the others, over
whatever link there is; whoever waits for it then sleeps until a link of that bandwidth would have let it through as
well (a token bucket without burst: a message begins when the one before it has left). So a transfer takes the longer
of the two, and one that nobody waits for yet costs nothing. Latency, loss and the slowness of others are not modelled:
for those, shape a link (benchmarks/low_communication.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:
    import torch


def ring(size: float, ranks: int) -> float:
    """B that each rank sends in an all-reduce of `size` B, which rings and the best of others need: 2(n-1)/n of it
    (nccl-tests, PERFORMANCE.md)."""
    return 2 * (ranks - 1) / ranks * size


class Pending:
    """A transfer on its way. due: when a link of the declared bandwidth has let it through, by the wire's clock."""

    def __init__(self, wire: Wire, works: Sequence[dist.Work], due: float) -> None:
        self._wire, self._works, self._due = wire, works, due
        self.done = False

    def wait(self) -> None:
        """Until it has arrived. Once; again costs nothing."""
        if self.done:
            return
        begin = time.perf_counter()
        for work in self._works:
            work.wait()
        self._wire.until(self._due)
        self.done = True
        self._wire.waited += time.perf_counter() - begin


class Wire:
    """bandwidth: B/s; 0 leaves the link as it is. sent: B so far. waited: s so far that `Pending.wait` took. now, hold:
    the clock in s, and what lets that many s pass."""

    def __init__(
        self, rank: int, world: int, bandwidth: float = 0.0, now: Callable[[], float] = time.perf_counter,
        hold: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.rank, self.world, self.bandwidth = rank, world, bandwidth
        self._now, self._hold, self._free = now, hold, 0.0
        self.sent = self.waited = 0.0

    def send(self, size: float) -> float:
        """Count B that begin to leave this rank now; when they would all have left."""
        self.sent += size
        if self.bandwidth:
            self._free = max(self._free, self._now()) + size / self.bandwidth
        return self._free

    def until(self, due: float) -> None:
        """Let time pass until then."""
        while self.bandwidth and (left := due - self._now()) > 0:
            self._hold(left)

    def settle(self) -> None:
        """Until all has left that was sent so far."""
        self.until(self._free)

    def total(self, flat: torch.Tensor) -> Pending:
        """Sum over all ranks, in place; it is on its way when this returns."""
        due = self.send(ring(flat.nbytes, self.world))
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        return Pending(self, [work], due)

    def swap(self, own: torch.Tensor, other: torch.Tensor, partner: int) -> Pending:
        """`own` to the partner, its own into `other`."""
        due = self.send(own.nbytes)
        both = [dist.P2POp(dist.irecv, other, partner), dist.P2POp(dist.isend, own, partner)]  # gloo goes by the order
        return Pending(self, dist.batch_isend_irecv(both), due)
