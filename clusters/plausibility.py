"""What a definition may say that its types let through: signs, units, sources, names that must hold.

Every check answers with `dotted.key: what is wrong; what is accepted`, and all are asked, so that a
definition is mended in one go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from clusters.structure import join, near
from harness.hardware import Cluster, Link, Peak, Reference
from harness.units import Unit

DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16", "float8", "int8", "float6", "float4")
"""Data types that a peak may be given for; int8 counts integer operations as FLOP."""

RATES = {
    "algbw": Unit.BYTE_PER_SECOND,
    "busbw": Unit.BYTE_PER_SECOND,
    "bandwidth": Unit.BYTE_PER_SECOND,
    "flops": Unit.FLOP_PER_SECOND,
}
"""Rates that a published reference may give, each with its unit (records.Rate)."""

VENDORS = {"cpu": "cpu", "cuda": "nvidia", "rocm": "amd"}
"""Whose devices an accelerator drives."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BENCHMARK = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


def implausible(cluster: Cluster) -> list[str]:
    """Every problem of a definition that is well formed otherwise; empty for a sound one."""
    return [
        *_identity(cluster),
        *_counts(cluster),
        *_figures(cluster),
        *_price(cluster),
        *_link(cluster),
        *_launch(cluster),
        *(problem for index, entry in enumerate(cluster.reference) for problem in _reference(cluster, index, entry)),
    ]


def figures(cluster: Cluster) -> Iterator[tuple[str, Peak, Unit]]:
    """Every figure that the definition gives: its dotted key, the figure, and the unit it must have."""
    device, node = cluster.device, cluster.node
    link, network, storage = node.link, node.network, node.storage
    for dtype, peak in device.peaks.items():
        yield join("device.peaks", dtype), peak, Unit.FLOP_PER_SECOND
    single: list[tuple[str, Peak | None, Unit]] = [
        ("device.memory", device.memory, Unit.BYTE),
        ("device.bandwidth", device.bandwidth, Unit.BYTE_PER_SECOND),
        ("device.power", device.power, Unit.WATT),
        ("device.interruptions", device.interruptions, Unit.SECOND),
        ("node.link.per_device", link.per_device if link else None, Unit.BYTE_PER_SECOND),
        ("node.link.per_link", link.per_link if link else None, Unit.BYTE_PER_SECOND),
        ("node.network.rate", network.rate if network else None, Unit.BYTE_PER_SECOND),
        ("node.memory", node.memory, Unit.BYTE),
        ("node.storage.capacity", storage.capacity if storage else None, Unit.BYTE),
        ("node.storage.read", storage.read if storage else None, Unit.BYTE_PER_SECOND),
        ("node.storage.write", storage.write if storage else None, Unit.BYTE_PER_SECOND),
    ]
    for key, figure, unit in single:
        if figure is not None:
            yield key, figure, unit


def _identity(cluster: Cluster) -> Iterator[str]:
    device = cluster.device
    if not _NAME.fullmatch(cluster.name):
        yield "name: is part of a folder's name; accepted: 1 to 64 letters, digits, '.', '_', '-', no sign first"
    texts = {"title": cluster.title, "device.name": device.name, "device.granularity": device.granularity}
    yield from (f"{key}: is empty; accepted: a text" for key, text in texts.items() if not text.strip())
    if not device.matches or not all(text.strip() for text in device.matches):
        yield "device.matches: accepted: at least one name that such a device reports, '*' for any text"
    if device.vendor != VENDORS[cluster.accelerator]:
        wanted = VENDORS[cluster.accelerator]
        yield f"device.vendor: '{device.vendor}' does not fit accelerator '{cluster.accelerator}'; accepted: {wanted}"
    for dtype in device.peaks:
        if dtype not in DTYPES:
            accepted = ", ".join(DTYPES)
            yield f"{join('device.peaks', dtype)}: unknown data type{near(dtype, DTYPES)}; accepted: {accepted}"
    for name, citation in cluster.sources.items():
        if not citation.strip():
            yield f"{join('sources', name)}: is empty; accepted: a citation that a reader can follow"


def _counts(cluster: Cluster) -> Iterator[str]:
    link, network = cluster.node.link, cluster.node.network
    counts = {
        "nodes": (cluster.nodes, 1_000_000),
        "node.devices": (cluster.node.devices, 10_000),
        "node.link.links": (link.links if link else None, 10_000),
        "node.network.nics": (network.nics if network else None, 10_000),
        "launch.ranks_per_node": (cluster.launch.ranks_per_node, 10_000),
    }
    for key, (count, most) in counts.items():
        if count is not None and not 1 <= count <= most:
            yield f"{key}: found {count}; accepted: 1 to {most}"


def _figures(cluster: Cluster) -> Iterator[str]:
    for key, figure, unit in figures(cluster):
        if figure.unit is not unit:
            yield f"{key}.unit: found '{figure.unit}'; accepted: {unit}"
        if not figure.basis.strip():
            yield f"{key}.basis: is empty; accepted: what exactly is meant, such as 'dense, per GCD'"
        yield from _positive(f"{key}.value", figure.value)
        yield from _sourced(cluster, f"{key}.source", figure.source)
        for index, other in enumerate(figure.disagrees):
            yield from _positive(f"{key}.disagrees[{index}].value", other.value)
            yield from _sourced(cluster, f"{key}.disagrees[{index}].source", other.source)


def _price(cluster: Cluster) -> Iterator[str]:
    price = cluster.device.price
    if price is None:
        return
    yield from _positive("device.price.low", price.low)
    yield from _positive("device.price.high", price.high)
    if price.low > price.high:
        yield f"device.price.high: found {price.high}; accepted: at least device.price.low, {price.low}"
    yield from _sourced(cluster, "device.price.source", price.source)


def _link(cluster: Cluster) -> Iterator[str]:
    link = cluster.node.link
    if link is None:
        return
    if link.topology == "fully connected" and link.per_link is None:
        yield "node.link.per_link: missing; needed with topology 'fully connected', whose bandwidth goes by links"
    whole, one, links = link.per_device, link.per_link, link.links
    if whole and one and links and not math.isclose(whole.value, one.value * links, rel_tol=0.01):
        yield (
            f"node.link.per_device.value: found {whole.value:g}; accepted: {one.value * links:g}, "
            f"which is {links} links of {one.value:g} B/s"
        )
    yield from _wired(link, cluster.node.devices)


def _wired(link: Link, devices: int) -> Iterator[str]:
    """A fully connected device needs a link to each of the others."""
    if link.topology == "fully connected" and link.links is not None and link.links < devices - 1:
        yield f"node.link.links: found {link.links}; accepted: at least {devices - 1}, one to each other device"


def _launch(cluster: Cluster) -> Iterator[str]:
    for name, value in cluster.launch.environment.items():
        key = join("launch.environment", name)
        if not _VARIABLE.fullmatch(name):
            yield f"{key}: is no name of an environment variable; accepted: letters, digits and '_', no digit first"
        if "\0" in value:
            yield f"{key}: holds a NUL character; accepted: text without one"


def _reference(cluster: Cluster, index: int, entry: Reference) -> Iterator[str]:
    key = f"reference[{index}]"
    if not _BENCHMARK.fullmatch(entry.benchmark):
        yield f"{key}.benchmark: found '{entry.benchmark}'; accepted: a benchmark, such as collectives.all_reduce"
    if entry.rate not in RATES:
        yield f"{key}.rate: found '{entry.rate}'{near(entry.rate, list(RATES))}; accepted: {', '.join(RATES)}"
    elif entry.unit is not RATES[entry.rate]:
        yield f"{key}.unit: found '{entry.unit}'; accepted for rate '{entry.rate}': {RATES[entry.rate]}"
    yield from _positive(f"{key}.value", entry.value)
    yield from _sourced(cluster, f"{key}.source", entry.source)
    for name, value in entry.params.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{join(f'{key}.params', name)}: found {value}; accepted: a finite number"


def _positive(key: str, value: float) -> Iterator[str]:
    if not (math.isfinite(value) and value > 0):
        yield f"{key}: found {value:g}; accepted: a finite number above 0 (leave out what is not known)"


def _sourced(cluster: Cluster, key: str, source: str) -> Iterator[str]:
    if source not in cluster.sources:
        known = ", ".join(cluster.sources) or "none is given yet"
        yield f"{key}: '{source}' is not in [sources]{near(source, list(cluster.sources))}; accepted: {known}"
