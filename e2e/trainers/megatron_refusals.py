"""What megatron-core is not asked for: what it does not have, or what this project could not see it do."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from e2e.trainers import Refused

if TYPE_CHECKING:
    from e2e.asked import Asked

OTHERS = {
    "adafactor": "adafactor: megatron-core 0.16 has adam, sgd and muon",
    "muon": "muon: this trainer has not been run with megatron-core's, which needs NVIDIA's Emerging Optimizers",
}


def refuse(asked: Asked) -> None:
    """Refused with the first reason, and what can be had instead. Nothing of megatron is imported."""
    if find_spec("megatron") is None or find_spec("megatron.core") is None:
        raise Refused("megatron-core is not installed: pip install 'bench[megatron]'")
    for reason in _reasons(asked):
        raise Refused(reason)


def _reasons(asked: Asked) -> Iterator[str]:
    layout = asked.layout
    if asked.stage >= 2:
        yield (
            f"stage {asked.stage}: megatron-core's distributed optimizer shares out states, which is stage 1; its "
            "FSDP, which shares out more, finds its device by the number of a GPU and could not be tried without one: "
            "use stage 0 or 1, or the torch or deepspeed trainer"
        )
    if asked.dtype == "float8":
        yield "float8: this trainer has not been run with Transformer Engine, which has it: use bfloat16"
    if asked.compile:
        yield "compile: megatron-core compiles functions of its own choice and offers no more: leave compile out"
    if asked.kernel != "default":
        yield f"kernel={asked.kernel}: megatron-core takes its attention from its kind of layers: use kernel=default"
    if asked.optimizer in OTHERS:
        yield f"{OTHERS[asked.optimizer]}: use adamw, or the torch trainer"
    if asked.offload != "none":
        yield (
            f"offload={asked.offload}: megatron-core's optimizer_cpu_offload fails without a GPU (\"can't optimize a "
            'non-leaf Tensor") and could not be tried with one: use deepspeed, or torch at stage 2 or 3'
        )
    if asked.model.experts > 1 and layout.tensor > 1 and not layout.sequence:
        yield f"experts with tensor={layout.tensor}: megatron-core trains them with sequence parallelism: sequence=true"
