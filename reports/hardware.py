"""What ran on what. What the definition declares and what was detected stand in columns of their own
and are never merged (METHOD 18)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.hardware import Cluster, Peak
from harness.records import FoundDevice, Provenance
from harness.units import digits, show_size
from reports.model import Chapter, Column, Fact, Group, Table, Text
from reports.numbers import GAP, declared
from reports.shares import cite
from reports.subject import Subject
from reports.text import clean, counted, listed

NONE = Text("–", tone="muted")
SIMULATED = "simulated"  # vendor of devices that a definition declares and nobody looked for
YEAR = 365.25 * 86400  # s
DETAILS = 8  # of a device, in the table


@dataclass(frozen=True)
class Kind:
    """Devices that differ in nothing but their index, on one host."""

    device: FoundDevice
    host: str
    count: int


def chapter(subject: Subject) -> Chapter:
    columns = (
        Column("", share=18),
        Column("Declared by the definition", share=41),
        Column("Detected on the machine", share=41),
    )
    groups = (Group("", tuple(_rows(subject))),)
    caption = f"The cluster as the definition “{clean(subject.cluster.name)}” declares it, and what was found."
    table = Table(subject.identifier("hardware-table"), caption, columns, groups)
    peaks = _peaks(subject)
    return Chapter(
        subject.identifier("hardware"),
        "What ran on what",
        _intro(subject),
        tables=(table, peaks) if peaks else (table,),
    )


def facts(subject: Subject) -> tuple[Fact, ...]:
    """The same in a few lines, for the first page."""
    first = subject.launches[0] if subject.launches else None
    kinds = _kinds(subject.launches)
    found = [f"{kind.count} × {clean(kind.device.name)}" for kind in kinds if kind.device.vendor != SIMULATED]
    nothing = "nothing: the cluster is simulated" if kinds else "nothing: no launch got as far as that"
    held = [Fact("Detected", listed(found[:3]) or nothing)]
    if first is not None:
        held.append(Fact("Ranks", _worlds(subject.launches)))
        versions = [f"{clean(name)} {clean(version)}" for name, version in first.versions.items()]
        held.append(Fact("Software", ", ".join(versions[:5])))
    return (Fact("Declared", _declared(subject.cluster)), *held)


def _declared(cluster: Cluster) -> str:
    if not cluster.nodes:
        return "nothing: the logs were read without --cluster"
    nodes = f"{counted(cluster.nodes, 'node')} of " if cluster.nodes > 1 else ""
    return f"{nodes}{cluster.node.devices} × {clean(cluster.device.name)}"


def _intro(subject: Subject) -> str:
    if subject.modelled:
        return "Nothing was executed: times come from a model of the declared cluster."
    return clean(subject.cluster.description, 1500) or "The definition states what should be there; detection, what is."


def _kinds(launches: Sequence[Provenance]) -> list[Kind]:
    """Devices of all launches, equal ones of a host counted together."""
    kinds: dict[tuple[str, str, int | None], Kind] = {}
    for held in launches:
        counts = Counter((held.host, device.name, device.memory) for device in held.devices)
        for device in held.devices:
            key = (held.host, device.name, device.memory)
            kinds.setdefault(key, Kind(device, held.host, counts[key]))
    return list(kinds.values())


def _worlds(launches: Sequence[Provenance]) -> str:
    """Every world that was started, the largest first: cells of one device and of all ranks need their own."""
    worlds = {
        (held.ranks, held.nodes or 0, held.threads or 0, held.backend if held.ranks > 1 else "")
        for held in launches if held.ranks  # a log that does not say how many ranks it is of tells of no world
    }  # fmt: skip
    return "; ".join(
        counted(ranks, "rank")
        + (f" on {counted(nodes, 'node')}" if nodes else "")
        + (f", {counted(threads, 'thread')} each" if threads else "")
        + (f", {clean(backend)}" if backend else "")
        for ranks, nodes, threads, backend in sorted(worlds, reverse=True)
    )


def _rows(subject: Subject) -> list[tuple[Text, ...]]:
    cluster, device = subject.cluster, subject.cluster.device
    kinds = [kind for kind in _kinds(subject.launches) if kind.device.vendor != SIMULATED]
    names = [f"{kind.count} × {clean(kind.device.name)} on {clean(kind.host)}" for kind in kinds]
    memory = [show_size(kind.device.memory) for kind in kinds if kind.device.memory]
    rows = [
        _row(
            "Devices",
            _declared(cluster) + (f" ({clean(device.granularity)})" if cluster.nodes else ""),
            "; ".join(names),
        ),
        _row("Memory each", _peak(cluster, device.memory), ", ".join(dict.fromkeys(memory))),
        _row("Memory bandwidth", _peak(cluster, device.bandwidth), ""),
        _row("Inside a node", _link(cluster), ""),
        _row("Between nodes", _network(cluster), ""),
        _row("Power each", _peak(cluster, device.power), ""),
        _row("Between interruptions", _years(cluster, device.interruptions), ""),
        _row("Price", _price(cluster), ""),
    ]
    for key, value in list(kinds[0].device.details.items() if kinds else [])[:DETAILS]:
        rows.append(_row(clean(key), "", clean(value, 160)))
    rows.append(_row("Ranks", "", _worlds(subject.launches)))
    return [row for row in rows if row[1:] != (NONE, NONE)]


def _row(term: str, declared: str, detected: str) -> tuple[Text, ...]:
    return (Text(term), Text(declared) if declared else NONE, Text(detected) if detected else NONE)


def _peak(cluster: Cluster, peak: Peak | None) -> str:
    return f"{declared(peak.value, peak.unit)}, {clean(peak.basis)} ({cite(cluster, peak.source)})" if peak else ""


def _years(cluster: Cluster, peak: Peak | None) -> str:
    return f"{digits(peak.value / YEAR)}{GAP}years, {clean(peak.basis)} ({cite(cluster, peak.source)})" if peak else ""


def _link(cluster: Cluster) -> str:
    link = cluster.node.link
    if link is None:
        return ""
    rate = f", {_peak(cluster, link.per_device)}" if link.per_device else ""
    return f"{clean(link.kind)}, {clean(link.topology)}{rate}"


def _network(cluster: Cluster) -> str:
    network = cluster.node.network
    if network is None:
        return ""
    return f"{network.nics} × {clean(network.kind)}, {_peak(cluster, network.rate)}; {clean(network.topology)}"


def _price(cluster: Cluster) -> str:
    price = cluster.device.price
    return (
        f"{price.low:g} to {price.high:g} USD a device hour, {clean(price.when)} ({cite(cluster, price.source)})"
        if price
        else ""
    )


def _peaks(subject: Subject) -> Table | None:
    """Declared peaks by data type, each with basis, source and other sources' values."""
    cluster = subject.cluster
    if not cluster.device.peaks:
        return None
    columns = (
        Column("Data type", share=12),
        Column("Peak", numeric=True, share=15),
        Column("Basis", share=30),
        Column("Source", share=43),
    )
    rows = []
    for dtype, peak in cluster.device.peaks.items():
        others = "; ".join(f"{declared(d.value, peak.unit)} in {cite(cluster, d.source)}" for d in peak.disagrees)
        source = Text(cite(cluster, peak.source), f"other sources: {others}" if others else "")
        rows.append((Text(clean(dtype)), Text(declared(peak.value, peak.unit)), Text(clean(peak.basis)), source))
    caption = f"Declared compute peaks of {clean(cluster.device.name)}; published by others, not measured here."
    return Table(subject.identifier("peaks"), caption, columns, (Group("", tuple(rows)),))
