"""A script that measures on a few gloo ranks of this machine: it starts itself once more for each of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch.distributed as dist
from common import Row, show, wants_json


def table(description: str | None, title: str, ranks: int, measure: Callable[[], list[Row]]) -> int:
    """Run `measure` on every rank and show the first one's rows; the exit code."""
    as_json = wants_json(description)
    if not is_rank():
        return start(ranks)
    rows = measure()
    if dist.get_rank() == 0:
        show(title, rows, as_json)
    dist.destroy_process_group()
    return 0


def is_rank() -> bool:
    """Whether this process is one of the ranks."""
    return "RANK" in os.environ


def start(ranks: int, before: Callable[[int], Sequence[str]] = lambda _: (), **variables: str) -> int:
    """Run the same command line as `ranks` processes; the greatest exit code. before: what starts a rank's program,
    where it has a host of its own. variables: set for all, MASTER_ADDR and the like."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
    } | variables  # fmt: skip
    started = [
        subprocess.Popen(
            [*before(index), sys.executable, *sys.argv], env=common | {"RANK": str(index), "LOCAL_RANK": str(index)}
        )
        for index in range(ranks)
    ]
    return max(process.wait() for process in started)
