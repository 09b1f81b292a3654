"""Runs the program as a user does: a process of its own, in an empty folder."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.main", *arguments]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error::DeprecationWarning:bench"}


def workers(parent: int) -> dict[int, psutil.Process]:
    """Worker processes under `parent`, by rank."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if "harness.worker" in process.cmdline() and "torch.distributed.run" not in process.cmdline():
                found[int(process.environ().get("RANK", 0))] = process
        except psutil.Error:
            continue
    return found


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that still work for a run under `folder`."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(folder) in line and process.pid != os.getpid() and "pytest" not in line:
            lines.append(line)
    return lines
