"""Ranks that hold different plans end at once, instead of waiting for each other in different operations."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from clusters import local
from harness.job import Job, read_reports
from harness.policy import Policy
from harness.store import Planned


def test_ranks_that_differ_in_their_plan_say_so(tmp_path: Path) -> None:
    job = Job(
        run="r", launch=0, modules=("microbench.collectives",), platform="clusters.platforms:real", accelerator="cpu",
        cluster=local.detect(), cells=(Planned("collectives.barrier", 1, {"ranks": 2}),), seed=3, policy=Policy(),
        nodes=1, ranks_per_node=2, threads=1, timeout=30.0, command=(),
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        path = tmp_path / f"job-{rank}.json"
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(job, seed=rank)))
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-m", "harness.worker", "--job", str(path), "--out", str(tmp_path)],
                env=os.environ | {key: str(value) for key, value in place.items()},
                stderr=subprocess.DEVNULL,
            )
        )
    assert [rank.wait(timeout=120) for rank in ranks] == [1, 1]
    for report in read_reports(tmp_path).values():
        assert report.status == "failed"
        assert "ranks differ in their plan: rank 0 holds job" in report.reason
        assert "(1 of 2 differ)" in report.reason
    assert not (tmp_path / "results.jsonl").exists()
