"""Synthetic runs for the tests of reports: alpha-beta curves with noise, never real numbers.

`local()` looks like two gloo ranks on a small machine without a datasheet, `node()` like eight
accelerators with peaks and published figures, `simulated()` like a modelled run of 1,024 ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import structs

from harness.hardware import Cluster, Device, Dissent, Link, Network, Node, Peak, Price, Reference
from harness.records import (
    SCHEMA,
    Better,
    Cadence,
    Evidence,
    Failed,
    FoundDevice,
    Incomplete,
    Measurement,
    Ok,
    Origin,
    Outcome,
    Params,
    Provenance,
    Rate,
    Record,
    Skipped,
    TimerHonesty,
)
from harness.store import Planned, Run, RunInfo
from harness.units import Unit

KIB, MIB = 1 << 10, 1 << 20
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2, "float8": 1, "tf32": 4}
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv")
MODEL = {"all_reduce": (2.0, 1.0), "all_gather": (1.1, 1.1), "reduce_scatter": (1.2, 0.95), "broadcast": (0.8, 0.9),
         "all_to_all": (1.4, 0.8), "send_recv": (0.5, 1.05)}  # latency and bandwidth, relative  # fmt: skip


def factor(operation: str, ranks: int) -> float:
    """busbw over algbw (nccl-tests)."""
    if operation == "all_reduce":
        return 2 * (ranks - 1) / ranks
    return 1.0 if operation in ("broadcast", "send_recv") else (ranks - 1) / ranks


class Noise:
    """Samples around a true time: right-skewed, seeded, sometimes with two modes."""

    def __init__(self, seed: int, spread: float, origin: Origin = Origin.MEASURED) -> None:
        self.rng, self.spread, self.origin = np.random.default_rng(seed), spread, origin

    def samples(self, true: float, n: int, second: float | None = None) -> tuple[float, ...]:
        if self.origin is Origin.MODELLED:
            return (true,) * n
        values = true * np.exp(np.abs(self.rng.normal(0, self.spread, n)))
        if second is not None:
            values[self.rng.random(n) < 0.3] *= second
        return tuple(float(value) for value in values)

    def time(
        self, cadence: Cadence, true: float, rates: Sequence[Rate], n: int, ranks: int = 2, second: float | None = None
    ) -> Measurement:
        samples = self.samples(true, n, second)
        middle = float(np.median(samples))
        medians = tuple(float(middle * (1 - 0.02 * self.rng.random())) for _ in range(min(ranks, 16)))
        evidence = Evidence(warmup=int(self.rng.integers(6, 60)), width=0.018, stopped="width reached", rotation=4,
                            rank_medians=medians, skew_median=4e-6, skew_max=3e-5)  # fmt: skip
        return Measurement(f"time.{cadence.value}", Unit.SECOND, Better.LOWER, samples, self.origin, cadence,
                           tuple(rates), evidence)  # fmt: skip


def record(benchmark: str, params: Params, outcome: Outcome, taken: Sequence[Measurement] = (), launch: int = 0,
           notes: tuple[str, ...] = ()) -> Record:  # fmt: skip
    return Record(SCHEMA, benchmark, 1, params, launch, outcome, tuple(taken), {}, f"p{launch}", 0.4, notes)


def collectives(noise: Noise, ranks: int, alpha: float, bandwidth: float, sizes: Sequence[int], n: int, launch: int,
                pair: float = 1.0, all_pairs: float = 1.0) -> Iterator[Record]:  # fmt: skip
    """pair, all_pairs: bandwidth of send/recv and of all-to-all relative to what it would be on one switch."""
    for operation in OPERATIONS:
        relative, speed = MODEL[operation]
        speed *= {"send_recv": pair, "all_to_all": all_pairs}.get(operation, 1.0)
        for dtype in ("float32", "bfloat16"):
            slow = 0.72 if dtype == "bfloat16" and operation in ("all_reduce", "reduce_scatter") else 1.0
            for in_place in (False, True) if operation in ("all_gather", "reduce_scatter") else (None,):
                for index, size in enumerate(sizes):
                    moved = size * factor(operation, ranks)
                    true = alpha * relative + moved / (bandwidth * speed * slow * (1.03 if in_place else 1))
                    rates = (Rate("algbw", size, Unit.BYTE_PER_SECOND), Rate("busbw", moved, Unit.BYTE_PER_SECOND))
                    second = 1.6 if operation == "all_to_all" and index == 5 and launch == 0 else None
                    place: Params = {} if in_place is None else {"in_place": in_place}
                    params: Params = {"dtype": dtype, "size": size, "ranks": ranks, **place}
                    isolated = noise.time(Cadence.ISOLATED, true, rates, n, ranks, second)
                    back_to_back = noise.time(Cadence.STREAMING, true - 0.55 * alpha * relative, rates, n, ranks)
                    taken = [isolated, back_to_back]
                    yield record(f"collectives.{operation}", params, Ok(), taken, launch)


def gemm(noise: Noise, peaks: dict[str, float], sizes: Sequence[int], half: float, n: int, launch: int
         ) -> Iterator[Record]:  # fmt: skip
    for dtype, peak in peaks.items():
        for m in sizes:
            flops = 2.0 * m**3
            true = flops / (peak * m**2 / (m**2 + half**2)) + 4e-6
            rates = (Rate("flops", flops, Unit.FLOP_PER_SECOND),)
            taken = [noise.time(Cadence.ISOLATED, true, rates, n, 2),
                     noise.time(Cadence.STREAMING, true - 2e-6, rates, n, 2)]  # fmt: skip
            yield record("gemm.square", {"dtype": dtype, "m": m, "n": m, "k": m}, Ok(), taken, launch)


def memory(noise: Noise, levels: Sequence[tuple[float, float]], sizes: Sequence[int], n: int, launch: int,
           allocate: bool) -> Iterator[Record]:  # fmt: skip
    """levels: (capacity B, bandwidth B/s), fastest first; the last one's capacity is infinite."""
    speeds = {"copy": 1.0, "scale": 0.97, "add": 1.05, "triad": 1.06, "read": 1.25}
    for op, relative in speeds.items():
        for size in sizes:
            bandwidth = math.exp(sum(math.log(b) * w for b, w in _mix(levels, size))) * relative
            true = size / bandwidth + 6e-7
            traffic = size * (1.5 if op in ("copy", "scale") else 4 / 3 if op in ("add", "triad") else 1.0)
            rates = [Rate("bandwidth", size, Unit.BYTE_PER_SECOND)]
            if allocate:
                rates.append(Rate("traffic", traffic, Unit.BYTE_PER_SECOND))
            taken = [noise.time(Cadence.STREAMING, true, rates, n, 2)]
            yield record("memory.stream", {"op": op, "dtype": "float32", "size": size}, Ok(), taken, launch)


def _mix(levels: Sequence[tuple[float, float]], size: float) -> list[tuple[float, float]]:
    """Weights of each level at a working set: smooth steps on a logarithmic axis."""
    below = [1.0, *(1 / (1 + (capacity / size) ** 3) for capacity, _ in levels[:-1]), 0.0]
    return [(bandwidth, below[i] - below[i + 1]) for i, (_, bandwidth) in enumerate(levels)]


def powers(low: int, high: int, step: int = 1) -> list[int]:
    return [1 << exponent for exponent in range(low, high + 1, step)]


def run(info: RunInfo, records: Sequence[Record], held: Provenance, problems: tuple[str, ...] = ()) -> Run:
    """held: of the first launch; the others differ in id and start."""
    launches = [structs.replace(held, id=f"p{i}", started=f"2026-11-22T18:{42 + i}:03Z") for i in range(info.launches)]
    return Run(Path("runs") / info.id, info, tuple(records), {each.id: each for each in launches}, problems)


def info(cluster: Cluster, records: Sequence[Record], suite: str, launches: int, simulated: bool = False) -> RunInfo:
    cells = {r.benchmark + str(r.params): Planned(r.benchmark, r.version, r.params) for r in records}
    command = ("bench", "run", "--cluster", cluster.name, "--suite", suite, *(("--simulate",) if simulated else ()))
    return RunInfo(SCHEMA, f"20261122-184200-{cluster.name}-{suite}-3f9a", "2026-11-22T18:42:00Z", command, suite,
                   cluster, simulated, 20261122, launches, 240.0, tuple(cells.values()))  # fmt: skip


def provenance(cluster: Cluster, devices: tuple[FoundDevice, ...], ranks: int, nodes: int, backend: str,
               versions: dict[str, str], **more: object) -> Provenance:  # fmt: skip
    values: dict[str, object] = {
        "id": "p0", "started": "2026-11-22T18:42:03Z", "host": "node-a17", "command": ("bench", "run"),
        "commit": "af2bf22c0ffee5a1b2c3d4e5f60718293a4b5c6d", "dirty": False, "versions": versions,
        "environment": {"OMP_NUM_THREADS": "1"}, "declared": cluster.name,
        "definition": "9d1c0aa7e3b2", "devices": devices,
        "ranks": ranks, "nodes": nodes, "threads": 1, "backend": backend,
        "timer": TimerHonesty(resolution=4.1e-8, overhead=9.6e-8),
    }  # fmt: skip
    return Provenance(**(values | more))  # type: ignore[arg-type]


def local(seed: int = 1, launches: int = 1, sizes: Sequence[int] | None = None) -> Run:
    """Two ranks on a two-core machine: no peak known, one launch, a few skips."""
    cluster = Cluster(
        name="local",
        title="This machine",
        accelerator="cpu",
        nodes=1,
        device=Device("Intel Xeon Processor @ 2.60 GHz", "cpu", "all cores of the host", ()),
        node=Node(1, Link("shared memory", "host memory")),
        description="Detected, not declared.",
    )
    noise, records = Noise(seed, 0.14), list[Record]()
    for launch in range(launches):
        records += collectives(noise, 2, 55e-6, 3.1e9, sizes or powers(10, 28, 3), 40, launch)
        records += gemm(noise, {"float32": 98e9, "bfloat16": 41e9}, powers(7, 11), 90, 40, launch)
        levels = [(48 * KIB, 1.1e11), (2 * MIB, 6.4e10), (32 * MIB, 2.6e10), (math.inf, 1.25e10)]
        records += memory(noise, levels, powers(14, 28, 2), 40, launch, allocate=True)
        slow = "float16 on CPU runs a hundred times slower than float32: no useful number"
        records += [record("gemm.square", {"dtype": "float16", "m": m, "n": m, "k": m}, Skipped(slow), (), launch)
                    for m in powers(7, 11)]  # fmt: skip
    details = {"cores": "2", "caches": "L1d 2 x 48 KiB, L2 2 x 2 MiB, L3 1 x 64 MiB", "vector units": "avx512f"}
    device = FoundDevice("Intel(R) Xeon(R) Processor @ 2.60GHz", "cpu", 0, 24 << 30, details)
    held = provenance(cluster, (device,), 2, 1, "gloo", {"bench": "0.1.0", "python": "3.11.2", "torch": "2.13.0+cpu"})
    return run(info(cluster, records, "quick", launches), records, held)


SOURCES = {
    "datasheet": "AMD Instinct MI300X Accelerator data sheet, 2023",
    "vendor blog": "Measuring max-achievable FLOPs, AMD ROCm blogs, 2025",
    "rccl-tests": "AMD Instinct MI300X cluster validation guide: rccl-tests on one node",
}


def cluster_mi300x(nodes: int = 1) -> Cluster:
    """Like an eight-way MI300X node; figures as the vendor's public documents give them."""

    def flops(value: float, basis: str, *disagrees: Dissent) -> Peak:
        return Peak(value, Unit.FLOP_PER_SECOND, basis, "datasheet", disagrees)

    device = Device(
        name="AMD Instinct MI300X",
        vendor="amd",
        granularity="GPU (8 XCDs)",
        matches=("MI300X",),
        peaks={
            "float32": flops(163.4e12, "dense float32 matrix, per GPU"),
            "tf32": flops(653.7e12, "dense tf32, per GPU"),
            "bfloat16": flops(1307.4e12, "dense bf16, per GPU"),
            "float16": flops(1307.4e12, "dense fp16, per GPU"),
        },
        memory=Peak(192e9, Unit.BYTE, "HBM3", "datasheet"),
        bandwidth=Peak(
            5.3e12, Unit.BYTE_PER_SECOND, "HBM3, per GPU", "datasheet", (Dissent(5.2e12, "an older slide"),)
        ),
        power=Peak(750, Unit.WATT, "total board power", "datasheet"),
        price=Price(1.5, 3.0, "2025", "public price lists"),
    )
    per_device = Peak(448e9, Unit.BYTE_PER_SECOND, "per GPU, one direction, 7 links", "datasheet")
    per_link = Peak(64e9, Unit.BYTE_PER_SECOND, "per link and direction", "datasheet")
    link = Link("xGMI", "fully connected", per_device, per_link, 7)
    nic = Peak(50e9, Unit.BYTE_PER_SECOND, "per NIC and direction", "datasheet")
    network = Network("RoCE, AMD Pollara 400", 8, nic, "rails only")
    reference = (
        Reference("collectives.all_reduce", "busbw", 310e9, Unit.BYTE_PER_SECOND, "rccl-tests", {"ranks": 8}),
        Reference("gemm.square", "flops", 708e12, Unit.FLOP_PER_SECOND, "vendor blog", {"dtype": "bfloat16"}),
        Reference("memory.stream", "bandwidth", 4.3e12, Unit.BYTE_PER_SECOND, "vendor blog", {"op": "copy"}),
    )
    return Cluster("mi300x", "AMD Instinct MI300X, 8 per node", "rocm", nodes, device, Node(8, link, network),
                   "Fully connected xGMI inside the node, eight 400 Gb/s NICs, rails only.",
                   reference=reference, sources=SOURCES)  # fmt: skip


def node(seed: int = 2, launches: int = 3) -> Run:
    """Eight accelerators, three launches, peaks and published figures known; one failure."""
    cluster, noise, records = cluster_mi300x(), Noise(seed, 0.012), list[Record]()
    for launch in range(launches):
        records += collectives(noise, 8, 14e-6, 3.15e11, powers(10, 28, 2), 60, launch, pair=0.15)
        records += gemm(noise, {"float32": 128e12, "tf32": 395e12, "bfloat16": 690e12, "float16": 655e12},
                        powers(9, 14), 1500, 60, launch)  # fmt: skip
        records += memory(noise, [(256 * MIB, 1.05e13), (math.inf, 4.1e12)], powers(20, 33), 60, launch, allocate=False)
        unsupported = "float8 e4m3fn is not what this device multiplies (it has e4m3fnuz)"
        records.append(
            record(
                "gemm.square", {"dtype": "float8", "m": 4096, "n": 4096, "k": 4096}, Skipped(unsupported), (), launch
            )
        )
    records.append(record("collectives.all_reduce", {"dtype": "float32", "size": 1 << 29, "ranks": 8},
                          Failed("rank 5: element 131072 is 27.9, expected 28.0"), (), 0))  # fmt: skip
    records.append(record("collectives.broadcast", {"dtype": "float32", "size": 1 << 29, "ranks": 8},
                          Incomplete("rank 3 ended with signal 9", (3,)), (), 1))  # fmt: skip
    found = tuple(
        FoundDevice("AMD Instinct MI300X OAM", "amd", i, 192 << 30, {"L2": "4 MiB", "L3": "256 MiB"}) for i in range(8)
    )
    held = provenance(cluster, found, 8, 1, "nccl", {"bench": "0.1.0", "torch": "2.13.0+rocm7.1", "rccl": "2.26.6"})
    return run(info(cluster, records, "standard", launches), records, held)


def simulated(sizes: Sequence[int] | None = None) -> Run:
    """A modelled run of 128 nodes: no samples differ, every origin is modelled."""
    cluster, noise = cluster_mi300x(128), Noise(0, 0.0, Origin.MODELLED)
    levels = [(256 * MIB, 1.05e13), (math.inf, 4.1e12)]
    records = [*collectives(noise, 1024, 60e-6, 3.3e11, sizes or powers(10, 30), 3, 0, pair=0.12, all_pairs=0.15),
               *gemm(noise, {"float32": 128e12, "bfloat16": 690e12}, powers(9, 14), 1500, 3, 0),
               *memory(noise, levels, powers(20, 33), 3, 0, allocate=False)]  # fmt: skip
    device = FoundDevice("simulated AMD Instinct MI300X", "simulated", 0, 192 << 30, {})
    held = provenance(cluster, (device,), 1024, 128, "nccl", {"bench": "0.1.0"}, timer=None,
                      notes=("modelled: nothing was executed; see the assumptions of the model",))  # fmt: skip
    return run(info(cluster, records, "full", 1, simulated=True), records, held)


def every() -> dict[str, Callable[[], Run]]:
    return {"local": local, "node": node, "simulated": simulated}
