"""DeepSpeed's fast writer of its own checkpoint: direct I/O, one buffer filled while the other is on its way.

(Wang et al., FastPersist, arXiv 2406.13768.) It is asked for in DeepSpeed's configuration, `checkpoint.writer`; files
and their layout are those of engine=deepspeed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microbench.checkpoint.engines.deepspeed import DeepSpeed
from microbench.checkpoint.engines.probe import Answer

if TYPE_CHECKING:
    from microbench.checkpoint.state import TrainingState

WRITER = {"type": "fast", "data_parallel": "replica"}  # every rank writes; buffers of 64 MiB by default
LAUNCHED = {"CROSS_RANK": "0", "CROSS_SIZE": "1"}
"""What DeepSpeed's launcher sets: the host's number, and of how many. All ranks of a cell are on one."""
PINNED = {"DS_PIN_MEMORY_BACKEND": "native"}
"""Buffers locked by DeepSpeed's own operator: where there is no device, torch locks none."""


class FastPersist(DeepSpeed):
    """Synchronous as it is asked for here. DeepSpeed can also hand the state to a process of its own ("decoupled")."""

    name = "fastpersist"
    notes = (
        "DeepSpeed's writer syncs its files, the benchmark the folder",
        "files are read with torch's weights_only, and the classes of DeepSpeed's that its checkpoints hold allowed",
    )

    def load(self, state: TrainingState, folder: Path) -> None:
        import torch

        with torch.serialization.safe_globals(_held()):
            super().load(state, folder)


def settings(device: str) -> dict[str, Any]:
    """DeepSpeed's configuration of checkpoints, after its environment is set for it."""
    os.environ.update({**LAUNCHED, **(PINNED if device == "cpu" else {})})
    return {"writer": WRITER}


def probe(device: str) -> Answer:
    """Whether DeepSpeed has for this device what its writer turns tensors into bytes with."""
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    from deepspeed.io import fast_file_writer

    try:
        fast_file_writer.UtilsBuilder().load()
    except Exception as error:
        said = str(error).strip().splitlines() or ["no word of why"]
        return Answer(
            f"DeepSpeed {deepspeed.__version__}'s fast writer does not run on this device: its operator 'utils': "
            f"{type(error).__name__}: {said[0][:200]}"
        )
    return Answer(operator="async_io")


def _held() -> list[Any]:
    """DeepSpeed's loader of these files leaves torch's weights_only on, and allows nothing."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [ZeroStageEnum, LossScaler, fragment_address]
