"""Starts this script once more for each rank of a gloo group on this machine: for the scripts beside this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def is_rank() -> bool:
    """Whether this process is one of the ranks."""
    return "RANK" in os.environ


def start(ranks: int) -> int:
    """Run the same command line as `ranks` processes; the greatest exit code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
    }  # fmt: skip
    started = [
        subprocess.Popen([sys.executable, *sys.argv], env=common | {"RANK": str(index), "LOCAL_RANK": str(index)})
        for index in range(ranks)
    ]
    return max(process.wait() for process in started)
