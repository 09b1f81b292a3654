"""A subprocess in which the real nvidia-ml-py package loads the compiled stand-in for NVIDIA's library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

H100 = {
    "devices": 8,
    "driver": "570.86.15",
    "cuda": 12080,
    "name": "NVIDIA H100 80GB HBM3",
    "memory": 85520809984,
    "memory_used": 5520809984,
    "capability": "9.0",
    "clock": 1755,
    "clock_max": 1980,
    "memory_clock": 2619,
    "power": 692500,
    "power_limit": 700000,
    "energy": 123456789,
    "temperature": 61,
    "ecc": 0,
    "ecc_corrected": 3,
    "xids": 0,
    "xid": 79,
    "utilisation": 100,
    "reasons": 0x04,  # at its power limit
    "field.82": 74,  # °C of the memory
    "field.138": 2048,  # KiB sent over all of NVLink's links
    "field.139": 1024,
    "field.38": 0,  # errors of NVLink: CRC, replays, recoveries
    "field.52": 2,
    "field.59": 0,
    "field.94": 1,  # replays of PCIe
    "field.197": 5000,  # B over PCIe
    "field.198": 7000,
}

Script = dict[str, object]


class FakeNvml:
    """Runs Python statements in a process in which the real nvidia-ml-py finds the stand-in."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library, self.file = library, folder / "script.txt"
        self.write(H100)

    def write(self, script: Script) -> None:
        self.file.write_text("".join(f"{key} {value}\n" for key, value in script.items()))

    def run(self, statements: str, **environment: str) -> Any:
        """What the statements print, read as JSON."""
        kept = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}
        environment = {"LD_LIBRARY_PATH": str(self.library), "FAKE_NVML": str(self.file), **environment}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import json\n{statements}"],
            env=kept | environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
