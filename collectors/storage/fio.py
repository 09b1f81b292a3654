"""fio's JSON and json+ (stat.c: show_thread_status_json), also with fio's own messages before it or cut off."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from collectors import checks
from collectors.numbers import Number
from collectors.parser import About, Found, Kind, Sink, parsed
from collectors.values import table
from harness.errors import UsageError
from harness.records import Measurement, Params
from harness.units import Unit, parse_size

WAYS = ("read", "write", "trim")
PERCENTILES = {"50.000000": "p50", "95.000000": "p95", "99.000000": "p99", "99.900000": "p999"}
LATENCIES = {"slat_ns": "submission", "clat_ns": "completion", "lat_ns": "time"}


class _Latency(msgspec.Struct):
    min: float
    max: float
    mean: float
    N: int = 0
    percentile: dict[str, float] = {}


class _Way(msgspec.Struct):
    io_bytes: int
    bw_bytes: float
    iops: float
    runtime: int  # ms
    total_ios: int
    slat_ns: _Latency | None = None
    clat_ns: _Latency | None = None
    lat_ns: _Latency | None = None


class _Job(msgspec.Struct):
    jobname: str
    error: int
    read: _Way | None = None
    write: _Way | None = None
    trim: _Way | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict, name="job options")


def document(value: object, sink: Sink, first: int, last: int) -> bool:
    """A record for each way of each job that did any I/O; a job that ended in an error is a failed one."""
    if not isinstance(value, dict) or "fio version" not in value or not isinstance(value.get("jobs"), list):
        return False
    shared = value.get("global options")
    about = About(
        versions=(("fio", str(value["fio version"]).removeprefix("fio-")),), host=str(value.get("hostname", ""))
    )
    for held in value["jobs"]:
        try:
            job = msgspec.convert(_modern(held), _Job, strict=False)
        except msgspec.ValidationError as error:
            sink.warn(first, f"a job that is not whole: {error}: left out")
            continue
        params = _params({**(shared if isinstance(shared, dict) else {}), **job.options}, job.jobname)
        if job.error:
            sink.found(Found("offload.fio", params, (), first, last, about, failed=f"fio ended with error {job.error}"))
            continue
        for name in WAYS:
            way: _Way | None = getattr(job, name)
            if way is not None and way.total_ios:
                found = Found(
                    "offload.fio",
                    {**params, "op": name},
                    tuple(_numbers(way)),
                    first,
                    last,
                    about,
                    _contradictions(way),
                )
                sink.found(found)
    return True


def _modern(job: object) -> object:
    """A job of fio 2 as fio 3 writes it: rates were in KiB/s (`bw`) and times in µs, without a unit in their names."""
    if not isinstance(job, dict):
        return job
    for way in (job.get(name) for name in WAYS):
        if not isinstance(way, dict) or "bw_bytes" in way or not isinstance(way.get("bw"), (int, float)):
            continue
        way["bw_bytes"] = way["bw"] * 1024
        if isinstance(amount := way.get("io_bytes"), int) and "io_kbytes" not in way:
            way["io_bytes"] = amount * 1024  # in KiB too, for all its name
        for name in ("slat", "clat", "lat"):
            if isinstance(old := way.get(name), dict):
                way[f"{name}_ns"] = {
                    key: _nano(one) if key != "percentile" else {at: _nano(time) for at, time in table(one).items()}
                    for key, one in old.items() if key in ("min", "max", "mean", "percentile")
                }  # fmt: skip
    return job


def _nano(time: object) -> object:
    return time * 1000 if isinstance(time, (int, float)) else time


def _params(options: dict[str, Any], job: str) -> Params:
    params: Params = {"job": job}
    for option, name in (("rw", "pattern"), ("ioengine", "engine")):
        if isinstance(options.get(option), str):
            params[name] = options[option]
    for option, name in (("bs", "block"), ("size", "size")):
        try:
            params[name] = parse_size(str(options[option]))
        except (KeyError, ValueError, UsageError):
            continue
    for option in ("iodepth", "numjobs", "direct"):
        if str(options.get(option, "")).isdigit():
            params[option] = int(options[option])
    return params


def _numbers(way: _Way) -> list[Measurement]:
    held = [
        parsed("bandwidth", Unit.BYTE_PER_SECOND, way.bw_bytes),
        parsed("iops", Unit.PER_SECOND, way.iops),
        parsed("bytes", Unit.BYTE, float(way.io_bytes)),
    ]
    for field, name in LATENCIES.items():
        latency: _Latency | None = getattr(way, field)
        if latency is None or not (latency.N or latency.mean):
            continue
        held.append(parsed(name, Unit.SECOND, latency.mean * 1e-9, flags=("a mean",)))
        held.append(parsed(f"{name}_max", Unit.SECOND, latency.max * 1e-9))
        held += [
            parsed(f"{name}_{short}", Unit.SECOND, latency.percentile[key] * 1e-9)
            for key, short in PERCENTILES.items() if key in latency.percentile
        ]  # fmt: skip
    return [one for one in held if all(map(math.isfinite, one.samples))]


def _contradictions(way: _Way) -> tuple[str, ...]:
    """Rates are totals over the run time. fio rounds the time to ms, and short jobs by more."""
    if way.runtime < 100:
        return ()
    time = Number(way.runtime / 1e3, 1e-3)
    said = (
        checks.quotient(name, checks.exact(rate), unit, checks.exact(total), time, why, slack=0.01)
        for name, rate, unit, total, why in (
            ("bandwidth", way.bw_bytes, Unit.BYTE_PER_SECOND, way.io_bytes, "bytes over run time"),
            ("the rate of operations", way.iops, Unit.PER_SECOND, way.total_ios, "operations over run time"),
        )
    )
    return tuple(filter(None, said))


KIND = Kind("fio", "fio: JSON and json+", document=document)
