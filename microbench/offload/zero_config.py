"""DeepSpeed's configuration for what is asked: the fewest settings that differ from its defaults, each with why."""

from __future__ import annotations

import math
from typing import Any

from harness.models.counts import layer_parameters, weights
from harness.models.zero import PRECISIONS
from microbench.offload.zero_asked import Asked

BLOCK, DEPTH = 1 << 20, 32  # of asynchronous I/O: B, requests
STATES = 5  # buffers of a swapped optimizer: master weight, two moments, gradient, and one to spare
RATE = 1e-3  # of learning
PERSIST = 1 << 14  # elements: smaller parameters (norms) stay; DeepSpeed swaps none below 1 MiB


def configuration(asked: Asked, pinned: bool) -> dict[str, Any]:
    """pinned: host memory is page-locked, for a device that reads it by itself."""
    held: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": asked.batch,
        "zero_optimization": _zero(asked, pinned),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's Adam on every tier, so that tiers differ in nothing else
        "optimizer": {"type": "AdamW", "params": {"lr": RATE, "torch_adam": True}},
        "aio": {"block_size": BLOCK, "queue_depth": DEPTH},
    }
    return held | ({"bf16": {"enabled": True}} if asked.dtype == "bfloat16" else {})


def _zero(asked: Asked, pinned: bool) -> dict[str, Any]:
    layer, piece = layer_parameters(asked.model), max(layer_parameters(asked.model), _ends(asked))
    zero: dict[str, Any] = {"stage": asked.stage, "reduce_bucket_size": piece, "allgather_bucket_size": piece}
    shared = {"nvme_path": asked.folder, "pin_memory": pinned}
    if asked.optimizer != "none":
        zero["offload_optimizer"] = shared | {"device": asked.optimizer, "buffer_count": STATES}
    if asked.parameters != "none":
        zero["offload_param"] = shared | {"device": asked.parameters, **_buffers(asked)}
    if asked.stage == 3:
        zero |= {  # one piece at work and the next one on its way; the defaults, of 1e9 elements, would keep all of it
            "sub_group_size": piece,
            "stage3_max_live_parameters": 2 * piece,
            "stage3_max_reuse_distance": 0,
            "stage3_prefetch_bucket_size": layer,
            "stage3_param_persistence_threshold": PERSIST,
        }
    return zero


def set_aside(asked: Asked) -> int:
    """B of host memory for the buffers of this configuration, each rank's: parameters on their way, the optimizer's
    tile with all its states in float32, a bucket of gradients. No formula of the papers has them."""
    held = PRECISIONS[asked.dtype]
    piece = max(layer_parameters(asked.model), _ends(asked))
    size = held.gradient * piece if asked.stage >= 2 else 0
    if asked.optimizer == "nvme":
        size += STATES * 4 * piece
    if asked.parameters == "nvme":
        buffers = _buffers(asked)
        size += held.weight * (buffers["buffer_count"] * buffers["buffer_size"] + piece)
    return size


def _ends(asked: Asked) -> int:
    return (1 if asked.model.tied else 2) * asked.model.vocabulary * asked.model.hidden


def _buffers(asked: Asked) -> dict[str, int]:
    """One buffer for each tensor of two layers and of the ends; each as large as the largest tensor. Nothing is kept
    in host memory beside them."""
    shapes = [math.prod(shape) for shape in weights(asked.model).values()]
    largest = max(*shapes, asked.model.vocabulary * asked.model.hidden)
    return {"buffer_count": 2 * len(shapes) + 4, "buffer_size": largest, "max_in_cpu": 0}
