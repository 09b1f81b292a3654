"""DeepSpeed's configuration for what is asked: its defaults, and the fewest settings that differ, each with why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.asked import BETAS, CLIP, DECAY, EPSILON, Asked

COLUMNS, ROWS = (
    ("attention.q", "attention.k", "attention.v", "ffn.gate", "ffn.up"),
    ("attention.projection", "ffn.down"),
)


def configuration(asked: Asked, accumulate: int, compiled: bool) -> dict[str, Any]:
    """accumulate: micro-batches of a rank's step. compiled: DeepSpeed's own Adam is there, see `built`."""
    zero: dict[str, Any] = {"stage": asked.stage}
    if asked.offload == "cpu":
        zero["offload_optimizer"] = {"device": "cpu"}
    held: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": asked.micro,
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": CLIP,
        "zero_optimization": zero,
    }
    if asked.optimizer == "adamw":
        adam = {"lr": asked.learning_rate, "betas": list(BETAS), "eps": EPSILON, "weight_decay": DECAY}
        held["optimizer"] = {"type": "AdamW", "params": adam | {"torch_adam": not compiled}}
        held["zero_force_ds_cpu_optimizer"] = compiled
    else:
        held["zero_allow_untested_optimizer"] = True  # Muon comes as an object
        held["zero_force_ds_cpu_optimizer"] = False
        zero["reduce_scatter"] = asked.stage < 3  # its Muon needs whole gradients at stage 3, and says so
    if asked.dtype == "bfloat16":
        held["bf16"] = {"enabled": True}
        if asked.stage:  # stage 0 knows sums of micro-batches in bfloat16 only
            held["data_types"] = {"grad_accum_dtype": "fp32"}
    if asked.layout.tensor > 1:
        held["tensor_parallel"] = _tensor(asked)
    return held


def _tensor(asked: Asked) -> dict[str, Any]:
    """AutoTP: columns of the first products, rows of the second (Shoeybi et al., arXiv 1909.08053). Embedding and
    output stay whole on every rank."""
    specs = [
        {"patterns": [rf".*\.{name}\.weight$" for name in names], "partition_type": kind}
        for names, kind in ((COLUMNS, "column"), (ROWS, "row"))
    ]
    return {"autotp_size": asked.layout.tensor, "partition_config": {"use_default_specs": False, "layer_specs": specs}}


def built(offload: bool) -> bool:
    """Whether DeepSpeed's compiled Adam (cpu_adam where states are offloaded, else fused_adam) lies on this machine:
    with the package, or from an earlier first use. Building it takes over a minute, which no job should pay unasked;
    torch's own stands in."""
    from deepspeed.git_version_info import installed_ops
    from torch.utils.cpp_extension import _get_build_directory

    name = "cpu_adam" if offload else "fused_adam"
    return bool(installed_ops.get(name)) or (Path(_get_build_directory(name, False)) / f"{name}.so").exists()
