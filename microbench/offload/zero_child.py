"""One rank of a training world: memory first, with this engine alone; then its steps in turn with those of an engine
that offloads nothing, and with its swaps by themselves; last the losses of stage 0, which its own must equal.

Turns, not one after the other: a machine that slows down for a minute slows all three.
"""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path

import msgspec

from harness.child import Place, forget_peak, peak, resident
from microbench.offload.zero_asked import Asked, Replay, Step, Told
from microbench.offload.zero_swap import Traffic, count

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


def train(place: Place) -> Told:
    """The entry of `harness.children`."""
    import deepspeed
    import torch
    from deepspeed.accelerator import get_accelerator

    asked = place.read(Asked)
    device = get_accelerator().device_name()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    deepspeed.init_distributed(BACKENDS.get(device, "nccl"))
    said = unsupported(asked)
    if said:
        return Told(refused=said)
    traffic = Traffic()
    if asked.swaps:
        count(traffic)
    begin = resident()
    try:
        return _measure(asked, place, traffic, begin)
    except Exception as error:
        words = refusal(error)
        if words is None:
            raise
        return Told(refused=words)


def _measure(asked: Asked, place: Place, traffic: Traffic, begin: int) -> Told:
    from deepspeed.accelerator import get_accelerator

    from microbench.offload.zero_engine import Trainer
    from microbench.offload.zero_replay import Replayer

    device = get_accelerator()
    trainer = Trainer(asked, traffic)
    parameters = sum(getattr(p, "ds_numel", p.numel()) for p in trainer.engine.module.parameters())
    early = [trainer.step() for _ in range(asked.warmup)]
    forget_peak()
    if device.device_name() != "cpu":
        device.reset_peak_memory_stats()
    early.append(trainer.step())
    memory = {"host": peak() - begin}
    if device.device_name() != "cpu":
        memory["device"] = int(device.max_memory_allocated())
    if asked.swaps:
        memory["nvme"] = sum(path.stat().st_size for path in Path(asked.folder).rglob("*") if path.is_file())
    groups = list(traffic.groups)
    replayer = Replayer(groups, Path(asked.folder) / f"replay-{place.rank}") if groups else None
    plain = msgspec.structs.replace(asked, optimizer="none", parameters="none")
    other = Trainer(plain, Traffic()) if asked.offloads else None
    base, steps, replays = list[Step](), list[Step](), list[Replay]()
    if other is not None:
        for _ in range(asked.warmup):
            other.step()
    for _ in range(asked.steps):
        base += [other.step()] if other is not None else []
        steps.append(trainer.step())
        base += [other.step()] if other is not None else []  # a disk is busy for a while with what was written last
        replays += [replayer.run()] if replayer is not None else []
    for each in (trainer, other):
        if each is not None:
            each.close()
    gc.collect()
    return Told(
        parameters=parameters, steps=tuple(steps), losses=tuple(step.loss for step in early), base=tuple(base),
        replays=tuple(replays), reference=_reference(plain, len(early)), memory=memory, device=device.device_name(),
    )  # fmt: skip


def _reference(plain: Asked, count: int) -> tuple[float, ...]:
    """Losses of the first steps at stage 0."""
    from microbench.offload.zero_engine import Trainer

    trainer = Trainer(msgspec.structs.replace(plain, stage=0), Traffic())
    return tuple(trainer.step().loss for _ in range(count))


def unsupported(asked: Asked) -> str:
    """DeepSpeed's own words, from its configuration's documentation, where it names the stages that an offload is
    valid for and the one asked for is not among them. It takes such a configuration in silence, and does not offload.
    """
    from deepspeed.runtime.zero import offload_config

    for tier, kind in (
        (asked.parameters, offload_config.DeepSpeedZeroOffloadParamConfig),
        (asked.optimizer, offload_config.DeepSpeedZeroOffloadOptimizerConfig),
    ):
        words = " ".join((kind.__doc__ or "").split())
        found = re.search(r"Valid (?:only )?with stage ([0-9, and]+)", words)
        if tier != "none" and found and str(asked.stage) not in re.findall(r"\d", found.group(1)):
            return f"DeepSpeed's {kind.__name__}: {words}"
    return ""


def refusal(error: BaseException) -> str | None:
    """What DeepSpeed says where it refuses what is asked; None for a fault that is not its refusal."""
    from pydantic import ValidationError

    held = error.__traceback__
    while held is not None and held.tb_next is not None:
        held = held.tb_next
    raised = held.tb_frame.f_globals.get("__name__", "") if held is not None else ""
    refuses = isinstance(error, (NotImplementedError, AssertionError, ValueError, ValidationError))
    if not refuses or not str(raised).startswith(("deepspeed.", "pydantic")):
        return None
    return f"DeepSpeed: {type(error).__name__}: {error}"
