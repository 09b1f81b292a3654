"""What a training job is asked to be, and what it tells: the two files between a cell and the processes it starts."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from e2e.layout import Layout
from harness.models import Model
from harness.records import Struct

TrainerName = Literal["torch", "deepspeed", "megatron"]
Dtype = Literal["float32", "bfloat16", "float8"]
OptimizerName = Literal["adamw", "muon", "adafactor"]
Recompute = Literal["none", "selective", "full"]
Kernel = Literal["default", "math", "flash", "efficient"]
Stage = Annotated[int, msgspec.Meta(ge=0, le=3)]
Tier = Literal["none", "cpu"]

DECAY, BETAS, EPSILON, CLIP = 0.1, (0.9, 0.95), 1e-8, 1.0
"""AdamW as GPT-3 has it (Brown et al., arXiv 2005.14165, appendix B): decay of matrices alone, gradients clipped to
norm 1. The same for every trainer."""


class Asked(Struct, frozen=True):
    """A job. batch: sequences of one optimizer step over all ranks; micro: of one forward on one rank. stage: of ZeRO
    (Rajbhandari et al., arXiv 1910.02054), 0 is plain data parallelism. dtype: of the products; weights that the
    optimizer updates are float32. kernel: of attention, as torch names them. offload: where the optimizer's states
    lie."""

    trainer: TrainerName
    model: Model
    sequence: int
    batch: int
    micro: int
    layout: Layout = Layout()
    stage: Stage = 0
    dtype: Dtype = "bfloat16"
    recompute: Recompute = "none"
    optimizer: OptimizerName = "adamw"
    compile: bool = False
    kernel: Kernel = "default"
    offload: Tier = "none"
    learning_rate: float = 3e-4
    seed: int = 0
