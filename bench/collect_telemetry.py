"""`bench collect --telemetry`: devices, host and network ports of this machine, or exporters by URL, over time."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import quantities
from bench.collected import Collected, info
from bench.output import emit, label, table
from collectors.telemetry import prometheus
from collectors.telemetry.gathered import Gathered
from harness import summary
from harness.accelerator import Probe
from harness.errors import CannotRun, UsageError
from harness.hardware import UNDECLARED, Cluster
from harness.records import Origin, Params
from harness.units import parse_duration, show, show_duration, show_interval

LEAST = 0.01  # s between two samples
EVERY = 2.0  # s between two words of progress


@dataclass
class _Source:
    """read: adds one reading to what it has gathered; ended: why it reads no more."""

    name: str
    read: Callable[[], None]
    gathered: list[Gathered]
    ended: str = ""


def telemetry(args: argparse.Namespace) -> int:
    """Sample until the time is over or Ctrl-C; 0 where anything was read, CannotRun where nothing was."""
    seconds, period = _duration(args.seconds, "--seconds"), _duration(args.period, "--period") or 0.1
    if period < LEAST:
        raise UsageError(f"--period {args.period}: at least {LEAST * 1e3:g}ms: more often nothing new is told")
    if args.files:
        raise UsageError(f"--telemetry samples this machine; it does not read {args.files[0]}")
    sources = [_exporter(url) for url in args.urls] or _here()
    _sample(sources, seconds, period, args.json)
    return _store(args, sources)


def _duration(said: str | None, option: str) -> float | None:
    if said is None:
        return None
    try:
        return parse_duration(said)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def _sample(sources: list[_Source], seconds: float | None, period: float, quiet: bool) -> None:
    begin = told = due = time.monotonic()
    try:
        while any(not one.ended for one in sources) and (seconds is None or time.monotonic() - begin < seconds):
            for source in sources:
                if not source.ended:
                    try:
                        source.read()
                    except Exception as error:  # whatever a vendor's library raises, the others go on
                        source.ended = f"{type(error).__name__}: {error}"
            if not quiet and time.monotonic() - told > EVERY:
                told = time.monotonic()
                print(f"{len(sources)} sources, {show_duration(told - begin)}; Ctrl-C ends", file=sys.stderr)
            due = max(due + period, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    except KeyboardInterrupt:
        if not quiet:
            print("ended; what was read is kept", file=sys.stderr)


def _store(args: argparse.Namespace, sources: list[_Source]) -> int:
    asked = info(_cluster(args.cluster), ("bench", *sys.argv[1:]))
    collected = Collected(asked, None if args.dry_run else Path(args.out))
    problems = [f"{source.name}: {source.ended}" for source in sources if source.ended]
    for source in sources:
        for gathered in source.gathered:
            found = gathered.found(f"ended early: {source.ended}" if source.ended else "")
            if found is not None:
                collected.add(source.name, "", found)
    records = collected.close()
    if not records:
        raise CannotRun("\n  ".join(["nothing could be read", *problems]))
    cells = summary.cells(records)
    path = str(collected.store.path) if collected.store else None
    document = {"run": path, "records": quantities.described(cells), "problems": problems}
    rows = [
        [
            label(figure.benchmark, figure.params), figure.name, show(figure.interval.value, figure.unit),
            show_interval(min(figure.samples[0]), max(figure.samples[0]), figure.unit, figure.interval.value),
            str(figure.summary.n),
        ]
        for cell in cells for figure in cell.figures
    ]  # fmt: skip
    lines = [table(["source", "metric", "median", "least and greatest", "n"], rows, right=[2, 3, 4])]
    lines += [f"problem: {problem}" for problem in problems]
    lines += [f"records in {path}; see `bench show`"] if path else []
    emit(args.json, document, "\n".join(lines))
    return 0


def _cluster(name: str | None) -> Cluster:
    if name is None:
        return UNDECLARED
    from clusters import definition

    return definition.load(name)


def _here() -> list[_Source]:
    """This machine: its devices through their vendor's library, the host, and the ports of its network adapters."""
    from clusters import accelerators, nic_counters
    from clusters.accelerators.host_probe import HostProbe

    host = socket.gethostname()
    kind = accelerators.detect()
    sources = []
    if kind != "cpu":
        accelerator = accelerators.create(kind)
        for index, device in enumerate(accelerator.found()):
            params: Params = {"device": index, "name": device.name}
            sources.append(_probed("telemetry.device", params, accelerator.probe(index)))
    sources.append(_probed("telemetry.host", {"host": host}, HostProbe()))
    for port in nic_counters.ports():
        sources.append(_probed("telemetry.nic", {"port": nic_counters.name(port)}, nic_counters.NicProbe(port)))
    return sources


def _probed(benchmark: str, params: Params, probe: Probe) -> _Source:
    gathered = Gathered(benchmark, params, Origin.MEASURED)
    return _Source(label(benchmark, params), lambda: gathered.add(probe.read()), [gathered])


def _exporter(url: str) -> _Source:
    """An exporter; its first answer decides whether there is one."""
    held: dict[tuple[str, str], Gathered] = {}
    gathered: list[Gathered] = []

    def read() -> None:
        answer = prometheus.read(prometheus.fetch(url), url)
        if not answer.values and not held:
            raise UsageError(f"{url}: {answer.unknown} samples, and none of a family that is known here")
        for (host, device), values in answer.values.items():
            if (host, device) not in held:
                benchmark, params = "telemetry.host", Params(host=host, exporter=url)
                if device:
                    benchmark, params["device"] = "telemetry.device", device
                held[host, device] = Gathered(benchmark, params, Origin.PARSED)
                gathered.append(held[host, device])
            held[host, device].add(values)

    prometheus.fetch(url)
    return _Source(url, read, gathered)
