"""What Linux says of this host's processors and of the limits this process runs under.

Everything is read under a root, so that tests can lay out another machine. A file that is not there
means unknown, never a default.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from harness.units import show_size

VECTORS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_fp16", "asimd", "sve", "bf16")
"""Flags of /proc/cpuinfo that decide how fast a matrix product can be."""


@dataclass(frozen=True)
class Cache:
    level: int
    kind: str  # Data, Instruction, Unified
    size: int  # B, of this instance; 0 where the host does not tell
    cpus: str  # list of CPUs that share it: "0-7"


class Host:
    """One machine, as its files under `root` describe it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.allowed = sorted(os.sched_getaffinity(0))

    @cached_property
    def _cpuinfo(self) -> dict[str, str]:
        """Fields of the first processor in /proc/cpuinfo."""
        text = self.read("proc/cpuinfo").split("\n\n")[0]
        pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {key.strip(): value.strip() for key, value in pairs}

    @property
    def model(self) -> str:
        """Name of the processor; its architecture where it has no name (most ARM hosts)."""
        return self._cpuinfo.get("model name") or platform.machine()

    @property
    def flags(self) -> frozenset[str]:
        return frozenset((self._cpuinfo.get("flags") or self._cpuinfo.get("Features", "")).split())

    @cached_property
    def caches(self) -> tuple[Cache, ...]:
        """Distinct cache instances of the allowed CPUs, by level."""
        found = {cache for cpu in self.allowed for cache in self._caches_of(cpu)}
        return tuple(sorted(found, key=lambda cache: (cache.level, cache.kind, cache.cpus)))

    def _caches_of(self, cpu: int) -> Iterator[Cache]:
        for folder in sorted(self._root.glob(f"sys/devices/system/cpu/cpu{cpu}/cache/index[0-9]*")):
            level, kind, size, cpus = (
                self.read(folder / name).strip() for name in ("level", "type", "size", "shared_cpu_list")
            )
            if level.isdecimal():
                yield Cache(int(level), kind, (number(size.removesuffix("K")) or 0) * 1024, cpus)

    def last_level(self) -> int | None:
        """Bytes of all distinct last-level data caches together; None where that is not told."""
        data = [cache for cache in self.caches if cache.kind != "Instruction"]
        last = max((cache.level for cache in data), default=0)
        sizes = [cache.size for cache in data if cache.level == last]
        return sum(sizes) if sizes and all(sizes) else None

    def by_core(self) -> list[int]:
        """Allowed CPUs, the first hardware thread of every core before any second one."""

        def order(cpu: int) -> tuple[int, int]:
            text = self.read(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            siblings = [other for other in parse_cpus(text) if other in self.allowed]
            return (siblings.index(cpu) if cpu in siblings else 0, cpu)

        return sorted(self.allowed, key=order)

    def numa_nodes(self) -> dict[int, list[int]]:
        """Allowed CPUs of each memory node that has any, by the node's number, in the order of `by_core`;
        empty where the host does not tell."""
        nodes: dict[int, list[int]] = {}
        for folder in self._root.glob("sys/devices/system/node/node[0-9]*"):
            held = set(parse_cpus(self.read(folder / "cpulist")))
            nodes[int(folder.name.removeprefix("node"))] = [cpu for cpu in self.by_core() if cpu in held]
        return {node: nodes[node] for node in sorted(nodes) if nodes[node]}

    def details(self) -> dict[str, str]:
        """The machine in words."""
        physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
        words = {
            "cores": f"{physical or '?'} physical, {logical} logical, {len(self.allowed)} allowed",
            "caches": ", ".join(self._caches_in_words()),
            "numa nodes": str(len(list(self._root.glob("sys/devices/system/node/node[0-9]*"))) or ""),
            "vector units": " ".join(flag for flag in VECTORS if flag in self.flags),
            "virtual machine": "yes" if "hypervisor" in self.flags else "",
            "memory limit": show_size(limit) if (limit := self._memory_limit()) < psutil.virtual_memory().total else "",
            "cpu quota": f"{quota:.2f} CPUs" if (quota := self._cpu_quota()) is not None else "",
        }
        return {key: text for key, text in words.items() if text}

    def _caches_in_words(self) -> Iterator[str]:
        for level, kind in dict.fromkeys((c.level, c.kind) for c in self.caches if c.size and c.kind != "Instruction"):
            sizes = [c.size for c in self.caches if (c.level, c.kind) == (level, kind)]
            yield f"L{level}{'d' if kind == 'Data' else ''} {len(sizes)} x {show_size(sizes[0])}"

    def memory_free(self) -> int:
        """Bytes that can be allocated now: what the system has left, or a control group's limit.

        Inactive file cache counts as free in both, since it is given up when memory is asked for.
        """
        free = [psutil.virtual_memory().available]
        for folder, limit, used, inactive in self._memory_groups():
            taken = number(self.read(folder / used)) or 0
            held = re.search(rf"^{inactive} (\d+)$", self.read(folder / "memory.stat"), re.MULTILINE)
            free.append(int(limit - taken + (int(held.group(1)) if held else 0)))
        return max(0, min(free))

    def _memory_limit(self) -> float:
        return min((limit for _, limit, _, _ in self._memory_groups()), default=math.inf)

    def _memory_groups(self) -> Iterator[tuple[Path, int, str, str]]:
        """(folder, limit, name of the usage file, name of the inactive cache) of each group with a limit."""
        names = {
            "": ("memory.max", "memory.current", "inactive_file"),
            "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        }
        for controller, (limit_file, used, inactive) in names.items():
            for folder in self._groups(controller):
                limit = number(self.read(folder / limit_file))
                if limit is not None:
                    yield folder, limit, used, inactive

    def _cpu_quota(self) -> float | None:
        """CPUs' worth of time that the tightest control group grants; None where none limits it."""
        shares = []
        for folder in self._groups(""):
            quota, _, period = self.read(folder / "cpu.max").strip().partition(" ")
            shares += [int(quota) / int(period)] if quota.isdecimal() else []
        for folder in self._groups("cpu"):
            limit, span = (number(self.read(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
            shares += [limit / span] if limit and span and limit > 0 else []
        return min(shares, default=None)

    def _groups(self, controller: str) -> Iterator[Path]:
        """Folders of this process's control group and its ancestors. '' is version 2's one hierarchy.

        Inside a container the path is often that of the host, and only the mount's root is there.
        """
        for line in self.read("proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller not in controllers.split(","):
                continue
            for mount in ("unified", "") if controller == "" else (controller,):
                base = self._root / "sys/fs/cgroup" / mount
                folder = base / path.lstrip("/")
                if base.is_dir():
                    yield from (at for at in (folder, *folder.parents) if at.is_relative_to(base) and at.is_dir())

    def read(self, path: str | Path) -> str:
        """Text of a file under the root; '' where there is none."""
        try:
            return (self._root / path).read_text(errors="replace")
        except OSError:
            return ""


def number(text: str) -> int | None:
    """A whole number in a file; None for 'max', for nothing, for anything else."""
    return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else None


def parse_cpus(text: str) -> list[int]:
    """CPUs of a kernel list: '0-3,8' is [0, 1, 2, 3, 8]."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def installed(package: str) -> str:
    """Version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
