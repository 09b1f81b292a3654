"""MLPerf Storage and DLIO: `summary.json` of a run, and each rank's `N_output.json`.

Layout: dlio_benchmark/utils/statscounter.py. Its MB are 2^20 B. Utilisation (AU) is a percentage there, and a ratio
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collectors import checks
from collectors.numbers import Number
from collectors.parser import Found, Kind, Sink, parsed
from collectors.values import real, row, table
from harness.records import Measurement, Params
from harness.units import Unit

BENCHMARK = "offload.mlperf_storage"
MEBI, GIBI = 2.0**20, 2.0**30
SIZES = "the log's MB and GB are taken as 2^20 and 2^30 B, as DLIO counts them"
_SCALARS = {
    "au_mean_percentage": ("utilisation_mean", Unit.RATIO, 0.01),
    "throughput_mean_samples_per_second": ("throughput_mean", Unit.PER_SECOND, 1.0),
    "io_mean_MB_per_second": ("bandwidth_mean", Unit.BYTE_PER_SECOND, MEBI),
    "checkpoint_io_mean_GB_per_second": ("bandwidth_mean", Unit.BYTE_PER_SECOND, GIBI),
    "checkpoint_duration_mean_seconds": ("time_mean", Unit.SECOND, 1.0),
}
_LISTS = {
    "au_percentage": ("utilisation", Unit.RATIO, 0.01),
    "throughput_samples_per_second": ("throughput", Unit.PER_SECOND, 1.0),
}
_PHASES = ("train", "eval", "save", "load")
_COUNTS = {"num_accelerators": "ranks", "num_hosts": "nodes", "epochs": "epochs", "num_files_train": "files",
           "num_samples_per_file": "samples_per_file"}  # fmt: skip


def document(value: object, sink: Sink, first: int, last: int) -> bool:
    known = table(value)
    metric = table(known.get("metric"))
    if any(
        key.startswith(("train_au_", "train_throughput_", "eval_", "save_checkpoint_", "load_checkpoint_"))
        for key in metric
    ):
        for found in _summary(known, metric, first, last):
            sink.found(found)
        return True
    epochs = {key: table(held) for key, held in known.items() if key.isdecimal()}
    if epochs and len(epochs) == len(known) and any("load" in held and "proc" in held for held in epochs.values()):
        for found in _epochs(epochs, first, last):
            sink.found(found)
        return True
    return False


def _summary(known: dict[str, Any], metric: dict[str, Any], first: int, last: int) -> Iterator[Found]:
    params: Params = {}
    for key, ours in _COUNTS.items():
        count = real(known.get(key))
        if count is not None and count.is_integer():
            params[ours] = int(count)
    for phase in _PHASES:
        measurements = tuple(_of_phase(phase, metric))
        if measurements:
            said = tuple(filter(None, (_mean(phase, name, metric) for name in _LISTS)))
            yield Found(BENCHMARK, {**params, "phase": phase}, measurements, first, last, contradictions=said)


def _of_phase(phase: str, metric: dict[str, Any]) -> Iterator[Measurement]:
    for key, (name, unit, scale) in _LISTS.items():
        samples = [number * scale for one in row(metric.get(f"{phase}_{key}")) if (number := real(one)) is not None]
        if samples:
            yield parsed(name, unit, samples, flags=("a sample for each epoch",))
    for key, (name, unit, scale) in _SCALARS.items():
        if (number := real(metric.get(f"{phase}_{key}"))) is not None:
            flags = (SIZES,) if unit is Unit.BYTE_PER_SECOND else ()
            yield parsed(name, unit, number * scale, flags=flags)


def _mean(phase: str, key: str, metric: dict[str, Any]) -> str:
    """The mean of the epochs, against the epochs."""
    name, unit, scale = _LISTS[key]
    stem, _, tail = key.partition("_")
    claimed = real(metric.get(f"{phase}_{stem}_mean_{tail}"))
    samples = [real(one) for one in row(metric.get(f"{phase}_{key}"))]
    held = [number * scale for number in samples if number is not None]
    if claimed is None or len(held) != len(samples):
        return ""
    return checks.average(f"{phase} {name}", Number(claimed * scale, 0.0), unit, held, "the mean of its epochs")


def _epochs(epochs: dict[str, dict[str, Any]], first: int, last: int) -> Iterator[Found]:
    """A record for each block of each epoch of a rank: how long it waited for a batch, and its rate."""
    for epoch, held in epochs.items():
        for block, waits in table(held.get("load")).items():
            measurements = []
            if samples := [number for one in row(waits) if (number := real(one)) is not None]:
                measurements.append(parsed("load", Unit.SECOND, samples))
            for key, name, unit, scale in (
                ("throughput", "throughput", Unit.PER_SECOND, 1.0), ("au", "utilisation", Unit.RATIO, 0.01)
            ):  # fmt: skip
                if (rate := real(table(held.get(key)).get(block))) is not None:
                    measurements.append(parsed(name, unit, rate * scale))
            if measurements:
                yield Found(BENCHMARK, {"epoch": int(epoch[:18]), "block": block}, tuple(measurements), first, last)


KIND = Kind("mlperf-storage", "MLPerf Storage and DLIO, JSON", document=document)
