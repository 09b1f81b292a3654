"""Made-up runs of training benchmarks: records as the benchmarks themselves write them, of numbers that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import structs
from reports_synthetic import cluster_mi300x, info, local, provenance, record, run

from e2e import results
from e2e.ablation import AblationParams
from e2e.cbs import CbsParams
from e2e.local import LocalParams
from e2e.mfu import JobParams
from e2e.scaling import ScalingParams
from e2e.told import PARTS, Parts, Told
from harness.hardware import Cluster
from harness.records import Better, Cadence, Evidence, Measurement, Ok, Origin, Params, Rate, Record
from harness.store import Run
from harness.units import Unit
from reports.subject import Subject

SHARES = (0.01, 0.3, 0.45, 0.08, 0.12, 0.04)  # of a step, as PARTS has them


def told(step: float, ranks: int, spread: float = 0.004, **more: Any) -> Told:
    """A job whose steps take `step` s."""
    steps = tuple(step * (1 + spread * ((at * 7) % 11 - 5)) for at in range(20))
    parts = tuple(Parts(1.1 * step, tuple(1.1 * step * share for share in SHARES)) for _ in range(3))
    assert len(SHARES) == len(PARTS)
    held = {
        "steps": steps, "warmup": 8, "width": 0.01, "stopped": "time cap", "losses": (10.4, 10.2, 10.1),
        "parts": parts, "busy": tuple(0.8 * step * (1 + 0.001 * rank) for rank in range(ranks)),
        "memory": {"device": 60 << 30}, "energy": 700.0 * step * ranks,
    }  # fmt: skip
    return Told(**(held | more))


def job(flops_a_device: float = 3e14, ranks: int = 8, clock: float | None = None, benchmark: str = "e2e.mfu",
        more: dict[str, Any] | None = None, launch: int = 0, **params: Any) -> Record:  # fmt: skip
    """A job that does that many FLOP of the model a second on each rank. more: what it tells else."""
    kind = ScalingParams if benchmark == "e2e.scaling" else JobParams
    asked_for = kind(ranks=ranks, **params)
    whole = asked_for.job(ranks) if isinstance(asked_for, ScalingParams) else asked_for
    asked = whole.asked(ranks)
    amount = next(rate.amount for rate in results.rates(asked, ranks) if rate.name == "flops")
    taken = results.measurements(told(amount / flops_a_device, ranks, **(more or {})), asked, ranks, Origin.MEASURED)
    found = record(benchmark, structs.asdict(asked_for), Ok(), taken, launch)
    return structs.replace(found, telemetry={"clock": (clock, clock, clock)}) if clock else found


def product(flops: float, dtype: str = "bfloat16", benchmark: str = "gemm.peak", clock: float | None = None) -> Record:
    """A matrix product at that many FLOP/s, on every device by itself."""
    size = 4096
    own: Params = {"m": size, "n": size, "k": size} if benchmark == "gemm.peak" else {}
    params: Params = {"dtype": dtype, "high": 8192} if own else {"dtype": dtype, "m": size, "n": size, "k": size}
    amount = 2.0 * size**3
    taken = Measurement("time.streaming", Unit.SECOND, Better.LOWER, (amount / flops,) * 12, Origin.MEASURED,
                        Cadence.STREAMING, (Rate("flops", amount, Unit.FLOP_PER_SECOND),), params=own)  # fmt: skip
    found = record(benchmark, params, Ok(), [taken])
    return structs.replace(found, telemetry={"clock": (clock, clock, clock)}) if clock else found


def ablation(technique: str, factor: float, memory: float, **params: Any) -> Record:
    ratios = tuple(factor * (1 + 0.002 * at) for at in range(-5, 6))
    taken = [Measurement("ratio", Unit.RATIO, Better.HIGHER, ratios, Origin.MEASURED)]
    for which, step, size in (("without", 1.0, 40e9), ("with", 1 / factor, 40e9 * memory)):
        taken.append(
            Measurement("step", Unit.SECOND, Better.LOWER, (step,) * 11, Origin.MEASURED, params={"job": which})
        )
        taken.append(
            Measurement("memory", Unit.BYTE, Better.LOWER, (size,), Origin.MEASURED,
                        params={"job": which, "tier": "device"})
        )  # fmt: skip
    held = AblationParams(technique=technique, ranks=8, **params)
    return record("e2e.ablation", structs.asdict(held), Ok(), taken)


def local_steps(**params: Any) -> Record:
    taken = list[Measurement]()
    for method, speed, loss in (("ddp", 1.0, 1.0), ("diloco", 1.6, 1.004), ("co2", 1.8, 1.011), ("noloco", 1.7, 1.02)):
        own: Params = {"method": method}
        rates = (Rate("tokens", 1e4, Unit.TOKEN_PER_SECOND), Rate("tokens_of_all", 8e4, Unit.TOKEN_PER_SECOND))
        taken.append(
            Measurement("time.streaming", Unit.SECOND, Better.LOWER,
                        tuple(1 / speed * (1 + 0.01 * at) for at in range(8)), Origin.MEASURED, Cadence.STREAMING,
                        rates, params=own, statistic="mean")
        )  # fmt: skip
        taken.append(Measurement("sent", Unit.BYTE, Better.LOWER, (900.0 / speed,), Origin.MEASURED, params=own))
        samples = tuple(7.2 * loss * (1 + 0.002 * at) for at in range(3))
        taken.append(Measurement("loss", Unit.RATIO, Better.LOWER, samples, Origin.MEASURED, params=own))
        if method != "ddp":
            for metric, value in (("speedup", speed), ("loss_ratio", loss)):
                better = Better.HIGHER if metric == "speedup" else Better.LOWER
                held = tuple(value * (1 + 0.003 * at) for at in range(7))
                taken.append(Measurement(metric, Unit.RATIO, better, held, Origin.MEASURED, params=own))
    return record("e2e.local_steps", structs.asdict(LocalParams(**params)), Ok(), taken)


def training_runs(a: float = 400, b: float = 60_000, seeds: int = 5, noise: float = 0.02, **params: Any) -> Record:
    """Runs of `e2e.cbs` on S = a + b/B; one at the smallest batch is censored, one at the largest diverged."""
    rng, taken = np.random.default_rng(3), list[Measurement]()
    held = CbsParams(low=8, high=1024, **params)
    for size in held.batches:
        own: Params = {"batch": size, "learning_rate": 0.001 * size**0.5, "target": 3.8}
        steps = tuple(float(round((a + b / size) * np.exp(noise * rng.standard_normal()))) for _ in range(seeds))
        if size == held.low:
            taken.append(_steps("censored", (steps[0],), own))
            steps = steps[1:]
        if size == held.high:
            taken.append(_steps("diverged", (31.0,), own))
        taken.append(_steps("steps", steps, own))
    return record("e2e.cbs", structs.asdict(held), Ok(), taken)


def _steps(metric: str, samples: tuple[float, ...], own: Params) -> Measurement:
    evidence = Evidence(flags=("made up",))
    return Measurement(metric, Unit.COUNT, Better.LOWER, samples, Origin.MEASURED, params=own, evidence=evidence)


def run_of(*records: Record, cluster: Cluster | None = None, ranks: int = 8) -> Run:
    """On eight devices with a datasheet, one rank on each; `cluster` and `ranks` say otherwise."""
    named = cluster or cluster_mi300x()
    held = provenance(named, (), ranks, named.nodes, "nccl", {})
    launches = 1 + max(one.launch for one in records)
    return run(info(named, records, "standard", launches), records, held)


def subject(*records: Record, cluster: Cluster | None = None, ranks: int = 8, models: Any = ()) -> Subject:
    return Subject(run_of(*records, cluster=cluster, ranks=ranks), "r1", tuple(models))


def host() -> Cluster:
    """All cores of a machine as one device, without a datasheet."""
    return local().info.cluster
