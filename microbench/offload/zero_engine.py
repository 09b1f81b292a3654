"""One DeepSpeed engine, built as asked, and steps with it: each phase between two synchronisations of the device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator

from microbench.offload.decoder import Decoder
from microbench.offload.zero_asked import Asked, Step
from microbench.offload.zero_config import configuration
from microbench.offload.zero_swap import Traffic


def pinned() -> bool:
    """Whether the device has memory apart from the host's, which then is page-locked."""
    return str(get_accelerator().device_name()) != "cpu"


class Trainer:
    """An engine on one batch of tokens, the same at every step: what is timed does not depend on which they are."""

    def __init__(self, asked: Asked, traffic: Traffic) -> None:
        held = configuration(asked, pinned())
        sharded = deepspeed.zero.Init(config_dict_or_path=held) if asked.stage == 3 else contextlib.nullcontext()
        with sharded:  # stage 3: each module's parameters are shared out, or swapped out, as soon as it is made
            module = Decoder(asked.model, asked.seed)
        self.engine = deepspeed.initialize(model=module, config=held)[0]
        self._traffic, self._adam = traffic, 0.0
        draw = torch.Generator().manual_seed(asked.seed + torch.distributed.get_rank())
        tokens = torch.randint(asked.model.vocabulary, (asked.batch, asked.sequence + 1), generator=draw)
        self._tokens = tokens.to(get_accelerator().current_device_name())
        self._watch()

    def step(self) -> Step:
        """One step, started by all ranks together."""
        torch.distributed.barrier()
        self._traffic.begin()
        self._adam = 0.0
        tokens, targets = self._tokens[:, :-1], self._tokens[:, 1:]
        losses = list[torch.Tensor]()
        forward = self._timed("forward", lambda: losses.append(self.engine(tokens, targets)))
        backward = self._timed("backward", lambda: self.engine.backward(losses[0]))
        step = self._timed("step", self.engine.step)
        return Step(forward, backward, step, self._adam, float(losses[0].item()), self._traffic.moved())

    def close(self) -> None:
        """Let go of the engine and all that it holds."""
        self.engine.destroy()
        del self.engine

    def _timed(self, phase: str, work: Callable[[], object]) -> float:
        self._traffic.phase = phase
        get_accelerator().synchronize()
        begin = time.perf_counter()
        work()
        get_accelerator().synchronize()
        return time.perf_counter() - begin

    def _watch(self) -> None:
        """Time the step of the optimizer that DeepSpeed wraps: Adam's arithmetic and nothing around it."""
        inner = self.engine.optimizer
        while hasattr(inner, "optimizer"):
            inner = inner.optimizer
        step: Callable[[], object] = inner.step

        def timed() -> object:
            get_accelerator().synchronize()
            begin = time.perf_counter()
            done = step()
            get_accelerator().synchronize()
            self._adam += time.perf_counter() - begin
            return done

        inner.step = timed
