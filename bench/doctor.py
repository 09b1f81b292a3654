"""`bench doctor`: what each benchmark needs, what is here, what is skipped for it, how to get it."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import catalog
from bench.output import emit, table
from bench.parameters import types
from harness.accelerator import Accelerator, Operation
from harness.provenance import PROJECT
from harness.registry import Benchmark

ROOMS = ("bench", "reports", "costmodels", "microbench", "e2e", "collectors", "clusters", "harness")


@dataclass(frozen=True)
class Check:
    """One thing that was looked for. `serves`: what is skipped without it."""

    name: str
    found: str  # '' where it is not there
    serves: str
    get: str


PACKAGES = (
    ("torch", "every measurement", "pip install torch (the build for your devices)"),
    ("matplotlib", "figures of the report", "pip install matplotlib"),
    ("weasyprint", "the PDF report", "pip install weasyprint"),
    ("pynvml", "telemetry of NVIDIA devices", "pip install 'bench[nvidia]'"),
    ("amdsmi", "telemetry of AMD devices", "pip install 'bench[amd]'"),
    (
        "deepspeed",
        "offload.training, offload.fits, its checkpoints, engine aio of offload.io",
        "pip install 'bench[deepspeed]'",
    ),
    ("megatron.core", "engine megatron of checkpoint.*", "pip install 'bench[megatron]'"),
    ("liburing", "engine uring of offload.io", "pip install 'bench[uring]'"),
)


def doctor(args: argparse.Namespace) -> int:
    """0 where every benchmark can run, 1 where something that the default run needs is missing."""
    checks = [*_rooms(), *_packages(), _pango(), *_programs()]
    devices, accelerator = _devices()
    benchmarks = _benchmarks(accelerator)
    document: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "checks": [{"name": c.name, "found": c.found, "serves": c.serves, "get": c.get} for c in checks],
        "benchmarks": benchmarks,
    }
    emit(args.json, document, _text(document, checks))
    needed = [check for check in checks if check.name in ("torch", "rooms") and not check.found]
    return 1 if needed else 0


def _rooms() -> list[Check]:
    """All rooms must come from one checkout: a second `harness` on the path would measure in its place."""
    strangers = []
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        if spec is None or spec.origin is None or PROJECT not in Path(spec.origin).resolve().parents:
            strangers.append(room)
    found = "" if strangers else str(PROJECT)
    serves = "everything" if not strangers else f"everything: {', '.join(strangers)} come from elsewhere"
    return [Check("rooms", found, serves, "pip install -e . in the project, in an environment of its own")]


def _packages() -> list[Check]:
    return [Check(name, _version(name), serves, get) for name, serves, get in PACKAGES]


def _version(module: str) -> str:
    from importlib.metadata import packages_distributions, version

    top = module.split(".")[0]
    if importlib.util.find_spec(top) is None:
        return ""
    names = packages_distributions().get(top, [])
    return version(names[0]) if names else "installed"


def _pango() -> Check:
    import ctypes.util

    missing = [
        name
        for name in ("pango-1.0", "pangoft2-1.0", "harfbuzz", "harfbuzz-subset")
        if ctypes.util.find_library(name) is None
    ]
    get = "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz0b libharfbuzz-subset0"
    return Check("Pango", "" if missing else "system library", "the PDF report", get)


PROGRAMS = (
    ("git", "the commit in each record's provenance"),
    ("fio", "engine fio of offload.io: the roof of the others"),
    ("g++", "DeepSpeed's operators, which are compiled when they are first used"),
)


def _programs() -> list[Check]:
    return [Check(name, shutil.which(name) or "", serves, f"apt-get install {name}") for name, serves in PROGRAMS]


def _devices() -> tuple[list[dict[str, Any]], str]:
    from clusters import accelerators

    kind = accelerators.detect()
    found = accelerators.create(kind).found()
    return [{"name": d.name, "vendor": d.vendor, "memory": d.memory, "details": d.details} for d in found], kind


def _benchmarks(kind: str) -> list[dict[str, Any]]:
    """Each benchmark with the modules that it lacks and the data types that this accelerator refuses."""
    from clusters import accelerators

    accelerator = accelerators.create(kind)
    rows = []
    for benchmark in catalog.benchmarks().values():
        missing = [name for name in ("torch", *benchmark.needs) if importlib.util.find_spec(name.split(".")[0]) is None]
        refused = {} if missing else _refusals(benchmark, accelerator)
        rows.append({"name": benchmark.name, "runs": not missing, "missing": missing, "skipped": refused})
    return rows


KINDS: dict[str, Literal["collective", "gemm", "stream"]] = {
    "collectives": "collective", "gemm": "gemm", "memory": "stream",
}  # fmt: skip


def _refusals(benchmark: Benchmark, accelerator: Accelerator) -> dict[str, str]:
    """Reasons by data type, for the data types that the benchmark's parameters accept."""
    family, operation = benchmark.name.split(".", 1)
    dtypes = getattr(types(benchmark).get("dtype"), "values", ())
    if family not in KINDS:
        return {}
    asked = {dtype: Operation(kind=KINDS[family], name=operation, dtype=dtype, ranks=2) for dtype in dtypes}
    answers = {dtype: accelerator.refuses(operation) for dtype, operation in asked.items()}
    return {dtype: reason for dtype, reason in answers.items() if reason}


def _text(document: dict[str, Any], checks: list[Check]) -> str:
    lines = [f"accelerator: {document['accelerator']}"]
    lines += [f"  {device['name']}" for device in document["devices"]]
    rows = [[c.name, c.found or "MISSING", c.serves, "" if c.found else c.get] for c in checks]
    lines += ["", table(["needed", "found", "for", "get it with"], rows), ""]
    for row in document["benchmarks"]:
        state = "runs" if row["runs"] else f"cannot run: {', '.join(row['missing'])} missing"
        lines.append(f"{row['name']}: {state}")
        lines += [f"    skips {dtype}: {reason}" for dtype, reason in row["skipped"].items()]
    return "\n".join(lines)
