"""`bench collect --telemetry`: devices, host and network ports of this machine, or exporters by URL, over time."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import quantities
from bench.collected import Collected, info
from bench.output import emit, label, table
from collectors.parser import About
from collectors.telemetry import prometheus
from collectors.telemetry.gathered import Gathered
from harness import summary
from harness.accelerator import Probe
from harness.errors import CannotRun, UsageError
from harness.hardware import UNDECLARED, Cluster
from harness.records import Origin, Params
from harness.telemetry import Telling, reason
from harness.units import parse_duration, show, show_duration, show_interval

LEAST = 0.01  # s between two samples
EXPORTED = 1.0  # s between two questions to an exporter: none reads its devices more often (DCGM's: every 30 s)
EVERY = 2.0  # s between two words of progress
PATIENCE = 2.0  # s that a reading under way is waited for in the end


_Told = list[tuple[Gathered, Mapping[str, float]]]


class _Source:
    """Something that is read again and again, in a thread of its own: a driver or an exporter that hangs holds up
    neither the others nor the end. ended: why it is read no more."""

    def __init__(self, name: str, read: Callable[[], _Told], least: float = 0.0) -> None:
        self.name, self.ended = name, ""
        self.gathered: list[Gathered] = []
        self.absent: Callable[[], Mapping[str, str]] = dict
        self._read, self._least = read, least
        self._held = threading.Lock()  # guards what is gathered; never held during a read
        self._period = LEAST
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self, period: float) -> None:
        self._period = max(period, self._least)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """What a reading that does not return would still tell is lost."""
        self._thread.join(seconds)
        with self._held:
            if self._thread.is_alive() and not self.ended:
                self.ended = f"the last reading has not returned within {seconds:.0f} s"

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                told, at = self._read(), time.monotonic()
            except Exception as error:  # whatever a vendor's library raises, the others go on
                self.ended = self.ended or reason(error)
                return
            with self._held:
                if self.ended:
                    return
                for gathered, values in told:
                    if gathered not in self.gathered:
                        self.gathered.append(gathered)
                    gathered.add(values, at)
            due = max(due + self._period, time.monotonic())
            self._stop.wait(due - time.monotonic())


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
    begin = told = time.monotonic()
    for source in sources:
        source.start(period)
    try:
        while any(not one.ended for one in sources) and (seconds is None or time.monotonic() - begin < seconds):
            if not quiet and time.monotonic() - told > EVERY:
                told = time.monotonic()
                print(_progress(sources, told - begin), file=sys.stderr)
            left = 0.1 if seconds is None else begin + seconds - time.monotonic()
            time.sleep(max(0.0, min(0.1, left)))
    except KeyboardInterrupt:
        if not quiet:
            print("ended; what was read is kept", file=sys.stderr)
    for source in sources:
        source.stop()
    end = time.monotonic() + PATIENCE
    for source in sources:
        source.wait(max(0.1, end - time.monotonic()))


def _progress(sources: list[_Source], passed: float) -> str:
    readings = sum(gathered.readings for source in sources for gathered in source.gathered)
    lost = sum(bool(source.ended) for source in sources)
    words = f"{show_duration(passed)}: {len(sources) - lost} sources, {readings} readings"
    return words + (f", {lost} lost" if lost else "") + "; Ctrl-C ends"


def _store(args: argparse.Namespace, sources: list[_Source]) -> int:
    asked = info(_cluster(args.cluster), ("bench", *sys.argv[1:]))
    collected = Collected(asked, None if args.dry_run else Path(args.out))
    problems = [f"{source.name}: {source.ended}" for source in sources if source.ended]
    for source in sources:
        for gathered in source.gathered:
            found = gathered.found(source.ended, source.absent())
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
        versions = tuple(accelerator.versions().items())
        for index, device in enumerate(accelerator.found()):
            about = About(devices=((device.name, device.vendor),), versions=versions, host=host)
            params: Params = {"device": index, "name": device.name}
            sources.append(_probed("telemetry.device", params, accelerator.probe(index), about))
    sources.append(_probed("telemetry.host", {"host": host}, HostProbe(), About(host=host)))
    for port in nic_counters.ports():
        params = {"port": nic_counters.name(port)}
        probe = nic_counters.NicProbe(port)
        sources.append(_probed("telemetry.nic", params, probe, About(host=host), nic_counters.described(port)))
    return sources


def _probed(benchmark: str, params: Params, probe: Probe, about: About, notes: tuple[str, ...] = ()) -> _Source:
    gathered = Gathered(benchmark, params, Origin.MEASURED, about, notes)
    source = _Source(label(benchmark, params), lambda: [(gathered, probe.read())])
    if isinstance(probe, Telling):
        source.absent = lambda: probe.absent
    return source


def _exporter(url: str) -> _Source:
    """An exporter; its first answer decides whether there is one."""
    held: dict[prometheus.Place, Gathered] = {}

    def read() -> _Told:
        answer = prometheus.read(prometheus.fetch(url), url)
        if not answer.values and not held:
            raise UsageError(f"{url}: {answer.unknown} samples, and none of a family that is known here")
        for place in sorted(answer.values.keys() - held.keys()):
            params: Params = {"host": place.host, "exporter": url}
            if place.part:
                params["port" if place.benchmark == "telemetry.nic" else "device"] = place.part
            notes = (f"{answer.unknown} samples of its first answer are of families that are not known here",)
            held[place] = Gathered(
                place.benchmark, params, Origin.PARSED, About(host=place.host), notes if answer.unknown else ()
            )
        return [(held[place], values) for place, values in answer.values.items()]

    prometheus.fetch(url)
    return _Source(url, read, EXPORTED)
