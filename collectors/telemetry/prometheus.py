"""A Prometheus endpoint as a source: NVIDIA's DCGM exporter, AMD's device metrics exporter, the node exporter.

What each family means is in `families`; what is not known is counted, never guessed.
"""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from collectors.telemetry import families
from harness.errors import UsageError

LARGEST = 32 * 2**20  # B of one answer
PIECE = 2**16  # B read at once
TIMEOUT = 5.0  # s, of the whole answer
SCHEMES = ("http", "https")
HOSTS = ("Hostname", "hostname", "instance")
DEVICES = ("gpu", "gpu_id", "GPU_ID")
PARTS = ("GPU_I_ID", "gpu_partition_id")  # of a device that is split


class Place(NamedTuple):
    """part: the device's number, '0/7' for an instance of a split one, or a port as 'mlx5_0/1'; '' of a host."""

    benchmark: str
    host: str
    part: str


@dataclass(frozen=True)
class Answer:
    """Values by what they are of, and how many samples nobody knows."""

    values: Mapping[Place, Mapping[str, float]]
    unknown: int


def check(url: str) -> None:
    """UsageError where a URL is none that is read."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"--from '{url}': {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise UsageError(f"--from '{url}': accepted is http://HOST:PORT/metrics or https://")
    if parts.username is not None:
        raise UsageError("--from: a name or password in a URL would be written into the records; leave it out")


def fetch(url: str, timeout: float = TIMEOUT) -> str:
    """The text at a URL; UsageError says why there is none."""
    check(url)
    try:
        with _OPENER.open(url, timeout=timeout) as answer:
            data = _all(answer, url, time.monotonic() + timeout)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UsageError(
            f"--from '{url}': {getattr(error, 'reason', error)}. Is the exporter running there?"
        ) from error
    return data.decode(errors="replace")


def _all(answer: IO[bytes], url: str, end: float) -> bytes:
    """An answer within its limits of time and size. The library's own time limit is one of each packet."""
    pieces, size = list[bytes](), 0
    while piece := answer.read1(PIECE):  # type: ignore[attr-defined]
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise UsageError(f"--from '{url}': more than {LARGEST >> 20} MiB in one answer: that is no exporter")
        if time.monotonic() > end:
            raise TimeoutError("its answer took too long")
    return b"".join(pieces)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """An exporter that sends us elsewhere does so within http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def read(text: str, url: str) -> Answer:
    """What an exporter's answer says; UsageError where it is none."""
    gathered: dict[Place, dict[str, tuple[str, list[float]]]] = {}
    unknown = 0
    for name, labels, value in _samples(text, url):
        family = families.known(name, labels)
        if family is None:
            unknown += 1
        elif math.isfinite(value) and not families.blank(name, value):
            held = gathered.setdefault(_place(family.benchmark, labels, url), {})
            for metric, said in families.told(family.metric, value * family.each).items():
                held.setdefault(metric, (family.several, []))[1].append(said)
    return Answer({place: _combined(held) for place, held in gathered.items()}, unknown)


def _combined(held: Mapping[str, tuple[str, list[float]]]) -> dict[str, float]:
    return {metric: families.COMBINED[several](values) for metric, (several, values) in held.items()}


def _place(benchmark: str, labels: Mapping[str, str], url: str) -> Place:
    host = _first(labels, HOSTS) or urlsplit(url).netloc
    if benchmark == families.PORT:
        return Place(benchmark, host, f"{labels.get('device', '')}/{labels.get('port', '')}")
    if benchmark == families.HOST:
        return Place(benchmark, host, "")
    device, part = _first(labels, DEVICES), _first(labels, PARTS)
    return Place(benchmark, host, f"{device}/{part}" if part and part != "0" else device)


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _samples(text: str, url: str) -> Iterator[tuple[str, dict[str, str], float]]:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        for family in text_string_to_metric_families(text):
            yield from ((sample.name, sample.labels, sample.value) for sample in family.samples)
    except Exception as error:  # the parser raises whatever its text leads to
        raise UsageError(f"--from '{url}': no text of Prometheus: {type(error).__name__}: {error}") from error
