"""The kinds of logs there are; a new one is a module with a `KIND`, and a line here."""

from __future__ import annotations

import importlib
import importlib.metadata

from collectors.parser import Kind
from harness.errors import CannotRun, unknown

ENTRY_POINTS = "bench.kinds"
"""Group under which other packages offer a `Kind` of their own."""

MODULES = (
    "training.megatron",
    "training.deepspeed",
    "training.deepspeed_profile",
    "training.huggingface",
    "training.nemo",
    "training.composer",
    "training.torchtitan",
    "training.mllog",
    "collectives.osu",
    "collectives.perftest",
    "collectives.param",
    "collectives.nccl_tests",
    "memory.babelstream",
    "memory.nvbandwidth",
    "memory.transferbench",
    "storage.fio",
    "memory.superbench",
    "memory.mamf_finder",
    "memory.gemm_sizing",
    "storage.mlperf_storage",
    "smi.nvidia_query",
    "smi.nvidia_dmon",
    "smi.nvidia_topology",
    "smi.amd",
    "smi.rocm",
    "training.losses",
)  # fmt: skip
"""Below `collectors`, in the order in which they are asked about a line."""


def load() -> list[Kind]:
    """Ours, then those of installed plug-ins. CannotRun names a plug-in that does not load."""
    own = [importlib.import_module(f"collectors.{name}").KIND for name in MODULES]
    return [*own, *map(_plugin, importlib.metadata.entry_points(group=ENTRY_POINTS))]


def _plugin(entry: importlib.metadata.EntryPoint) -> Kind:
    try:
        kind = entry.load()
    except Exception as error:
        raise CannotRun(
            f"the kind of log '{entry.name}' cannot be loaded from {entry.value}: {type(error).__name__}: {error}. "
            "Repair or uninstall the package that offers it."
        ) from error
    if not isinstance(kind, Kind):
        raise CannotRun(f"the kind of log '{entry.name}' ({entry.value}) is no collectors.parser.Kind. Uninstall it.")
    return kind


def chosen(name: str | None) -> list[Kind]:
    """All kinds, or the one of that name; UsageError where there is none."""
    kinds = load()
    if name is None:
        return kinds
    one = [kind for kind in kinds if kind.name == name]
    if not one:
        raise unknown("kind of log", name, [kind.name for kind in kinds], "`bench collect --kinds` lists them.")
    return one
