"""Steps of one job, timed as a job runs: back to back, each from its data to its optimizer, on all ranks at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist

from e2e import data
from e2e.trainers import Trainer, unmarked
from harness.statistics import mean_interval, settled

if TYPE_CHECKING:
    from e2e.asked import Asked
    from e2e.trainers import Phase
    from harness.accelerator import Accelerator
    from harness.ranks import Ranks

LEAST, MOST = 10, 100_000  # timed steps
WIDTH = 0.02  # half width of the 95 % interval that ends a job's timing (METHOD 6)


class Steps:
    """A trainer with its data: every call takes the next step's."""

    def __init__(
        self, trainer: Trainer, asked: Asked, accelerator: Accelerator, ranks: Ranks, device: torch.device
    ) -> None:  # fmt: skip
        self.trainer, self.asked = trainer, asked
        self._accelerator, self._ranks, self._device = accelerator, ranks, device
        self._losses: list[torch.Tensor] = []
        self.taken = 0

    def one(self, phase: Phase = unmarked) -> None:
        """One step, from its data on."""
        asked, trainer = self.asked, self.trainer
        with phase("data"):
            rows = data.batch(
                asked.seed, self.taken, asked.batch, trainer.data_rank, trainer.data_ranks, asked.sequence + 1,
                asked.model.vocabulary,
            )  # fmt: skip
            tokens = torch.from_numpy(rows).to(self._device, non_blocking=True)
        self._losses.append(trainer.step(tokens, phase).detach())
        self.taken += 1

    def block(self, count: int) -> list[float]:
        """`count` steps; s of each, the greatest over ranks. A step ends where the next begins."""
        watch = self._accelerator.stopwatch(count)
        self._accelerator.synchronise()
        self._ranks.barrier()
        watch.start(0)
        for at in range(count):
            self.one()
            if at + 1 < count:
                watch.start(at + 1)
            watch.stop(at)
        return self._ranks.maximum(watch.seconds())

    def warm_up(self, cap: float) -> tuple[int, bool]:
        """(steps, whether two blocks in a row agreed): blocks double until they do, or past `cap` s."""
        self.block(1)  # what is compiled and allocated on first use
        size, spent, previous = 2, 0.0, list[float]()
        while True:
            block = self.block(size)
            spent += sum(block)
            if previous and settled(previous, block):
                return self.taken, True
            if spent > cap:
                return self.taken, False
            previous, size = block, min(size * 2, 1024)

    def timed(self, seconds: float) -> tuple[list[float], str, float]:
        """(s of each step, why it ended, half width reached of the mean's interval)."""
        taken, size = self.block(LEAST), LEAST
        while True:
            known = mean_interval([taken])
            if known.width <= WIDTH:
                return taken, "width reached", known.width
            each = float(np.mean(taken))
            left = int((seconds - sum(taken)) / each)
            if left < 1 or len(taken) >= MOST:
                return taken, "time cap" if left < 1 else "step cap", known.width
            size = min(left, size * 2, MOST - len(taken))
            taken += self.block(size)

    def losses(self) -> list[float]:
        """Mean loss over the whole batch of every step so far; waits for the device."""
        own = torch.stack(self._losses).double()
        seen = (own != 0).any().double()  # ranks that see the output; each has the mean over its own sequences
        together = torch.cat((own, seen[None]))
        dist.all_reduce(together)
        found: list[float] = (together[:-1] / together[-1].clamp(min=1)).tolist()
        return found


@contextmanager
def marked(name: str) -> Iterator[None]:
    """A phase as torch's profiler records it (`e2e.breakdown.MARK`)."""
    from e2e.breakdown import MARK

    held: AbstractContextManager[object] = torch.profiler.record_function(MARK + name)
    with held:
        yield
