"""What was run on what: collected once per launch by rank 0, referred to by every record."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from harness.environment import environment_allowed
from harness.hardware import Cluster
from harness.job import Job
from harness.platform import Platform
from harness.records import Provenance

PROJECT = Path(__file__).resolve().parent.parent


def now() -> str:
    """The time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(document: Cluster | Job) -> str:
    """Twelve hex digits that change when anything in a definition, or in a plan, does."""
    return hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()[:12]


def provenance(job: Job, platform: Platform) -> Provenance:
    """Provenance of a launch; its id is a digest of everything else in it."""
    commit, dirty = _commit()
    held = Provenance(
        id="",
        started=now(),
        host=socket.gethostname(),
        command=job.command,
        commit=commit,
        dirty=dirty,
        versions={"bench": _version("bench")} | platform.accelerator.versions(),
        environment=environment_allowed(os.environ),
        declared=job.cluster.name,
        definition=digest(job.cluster),
        devices=platform.accelerator.found(),
        ranks=job.world,
        nodes=job.nodes,
        threads=job.threads,
        backend=platform.accelerator.backend() if job.world > 1 else "none: one rank",
        timer=platform.timer,
        notes=platform.notices(),
    )
    return msgspec.structs.replace(held, id=hashlib.sha256(msgspec.json.encode(held)).hexdigest()[:12])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the project's checkout and whether it was changed since; None where git cannot say."""
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    return head, bool(status)
