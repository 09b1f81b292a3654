"""DeepSpeed's universal checkpoint: its own one, taken apart by parameter, which any number of ranks can load.

(Lian et al., Universal Checkpointing, arXiv 2406.18820.) The conversion is a program of DeepSpeed's that one process
runs over all files; here the first rank starts it as soon as they are written, the others wait.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import sync
from harness.orphans import end_with_parent
from microbench.checkpoint.engines.deepspeed import DeepSpeed
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState

CONVERTER = "deepspeed.checkpoint.ds_to_universal"
GLOBAL = Path("zero") / "optimizer_state.pt"  # the converter's last file but for copies of the model's states
TAIL = 300  # characters of what the converter printed that are quoted


class Universal(DeepSpeed):
    """Durable only when it is converted: what it was converted from is gone then."""

    name = "deepspeed_universal"
    notes = (
        "blocked and durable hold the conversion, by one worker at a time, which a job would run afterwards: its own "
        "time is among the phases",
        "DeepSpeed reads its files without torch's weights_only",
    )

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch

        begin, native = time.perf_counter(), folder.parent / f"native-{folder.name}"
        super().save(state, native)
        self.phases = {"saving": time.perf_counter() - begin}
        torch.distributed.barrier()
        begin = time.perf_counter()
        reason = [""]
        if torch.distributed.get_rank() == 0:
            reason[0] = convert(native, folder)
            shutil.rmtree(native)
        torch.distributed.broadcast_object_list(reason)
        if reason[0]:
            raise OSError(f"the conversion failed: {reason[0]}")
        self.phases["conversion"] = time.perf_counter() - begin
        return Then(lambda: _sync_all(folder))

    def complete(self, folder: Path) -> bool:
        """What the converter writes last is there: of how much of the rest there is, it leaves no word."""
        return (folder / GLOBAL).is_file() and any(folder.glob("*model_states.pt"))


def convert(native: Path, folder: Path) -> str:
    """Why the converter failed, or nothing. Without this process's place in its world, which the converter has no
    part in."""
    ours = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    argv = (
        sys.executable, "-m", CONVERTER, "--input_folder", str(native), "--output_folder", str(folder),
        "--num_extract_workers", "1", "--num_merge_workers", "1", "--inject_missing_state",
    )  # fmt: skip
    done = subprocess.run(
        argv, env={k: v for k, v in os.environ.items() if k not in ours}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        preexec_fn=end_with_parent,
    )  # fmt: skip
    if not done.returncode:
        return ""
    return done.stdout.decode(errors="replace").strip()[-TAIL:] or f"exit status {done.returncode}"


def _sync_all(folder: Path) -> None:
    """Files are many: each rank its share, the folders too."""
    import torch

    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    paths = sorted(folder.rglob("*"))
    for path in paths[rank::world]:
        sync(path)
    sync_all([], folder)
