"""torchrun: starts the ranks of one host, or of several hosts that meet at a rendezvous.

A pure builder: nothing is started here. `python -m torch.distributed.run` is used and not the `torchrun`
script, so that the interpreter is the one that was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
LOGS = "torchrun"  # folder for what torchrun keeps of its ranks, beside theirs
RENDEZVOUS = "<first node>:29400"  # what a plan shows where no host is known yet; 29400 is torchrun's port


@dataclass(frozen=True)
class Launch:
    """What to start on each node. `environment` is added to what the caller has. `missing` names the
    arguments that a plan could not know: a launch that has any can be shown, not started."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    missing: tuple[str, ...] = field(default=())


def torchrun(
    job_file: Path, out: Path, *, nodes: int, ranks_per_node: int, threads: int, python: str,
    environment: Mapping[str, str] | None = None, log_dir: Path | None = None,
    rendezvous: str | None = None, node_rank: int | None = None, inherited: Mapping[str, str] = os.environ,
) -> Launch:  # fmt: skip
    """The command that starts `ranks_per_node` workers here, as one of `nodes` such commands.

    threads: per rank. rendezvous: 'host:port' of the first node, where nodes > 1. node_rank: 0 on the
    node that hosts the rendezvous; torchrun finds out by itself where names resolve. log_dir: keeps
    each rank's output in a file of its own too. inherited: the caller's environment, whose search path
    is kept behind the project's root.
    """
    if nodes < 1 or ranks_per_node < 1 or threads < 1:
        raise UsageError(f"a launch of {nodes} nodes with {ranks_per_node} ranks of {threads} threads: each at least 1")
    argv = [
        *(python, "-m", "torch.distributed.run"),
        *(f"--nnodes={nodes}", f"--nproc-per-node={ranks_per_node}", "--max-restarts=0"),
        *_meeting(out.name, nodes, rendezvous, node_rank),
        f"--log-dir={log_dir or out / LOGS}",  # else a folder is left among the system's temporary files
        *(("--tee=3",) if log_dir else ()),
        *("-m", "harness.worker", "--job", str(job_file), "--out", str(out)),
    ]
    path = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    settings = {
        "OMP_NUM_THREADS": str(threads),  # torchrun would set 1
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",  # what a rank said last is in the log, also when it is killed
    }
    if nodes == 1:
        settings["GLOO_SOCKET_IFNAME"] = "lo"  # gloo would look up the host's own name, which may not resolve
    missing = ("rendezvous",) if nodes > 1 and rendezvous is None else ()
    return Launch(tuple(argv), settings | dict(environment or {}), missing)


def _meeting(name: str, nodes: int, rendezvous: str | None, node_rank: int | None) -> list[str]:
    """Where the agents of the nodes find each other. On one node the loopback address does, with any
    free port; torchrun's --standalone says 'localhost', which some hosts resolve to IPv6."""
    if nodes == 1:
        return ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={name}", "--local-addr=127.0.0.1"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous or RENDEZVOUS}", f"--rdzv-id={name}"]
    if node_rank is not None:
        meeting.append(f"--rdzv-conf=is_host={int(node_rank == 0)}")
    return meeting
