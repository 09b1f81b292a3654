"""A measured rate against what the hardware is said to reach, and against what others reached.

A share is never made up: without a declared peak it is absent, with the reason (METHOD 17). Above
100 % one of the two numbers, or the comparison, is wrong, and the report names both with their
sources. Peaks come from the cluster's definition; `harness.hardware` says what each one means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.hardware import Cluster, Peak, Reference
from harness.records import Params
from harness.statistics import Interval
from harness.summary import Figure
from harness.units import Unit
from reports.numbers import declared, plain
from reports.reading import ranks_of, say, say_all
from reports.text import clean

SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64", "float8": "fp8"}
RINGS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce")
PAIRED = ("send_recv", "exchange", "pairwise")
SPREAD = ("all_to_all", "all_to_all_uneven", "gather", "scatter")
"""Operations in which a rank (the root, the busiest) exchanges a part with each other one."""

ON_DEVICE = ("memory.stream", "memory.random", "memory.strided")
"""Benchmarks that the memory of one device bounds; copies between devices or nodes have other roofs."""

DECISIVE = ("dtype", "op", "ranks", "in_place")  # parameters in which a published figure must agree

SHARP = (
    "in-network reduction (such as NVLink SHARP) moves fewer bytes than the busbw formula counts, so an "
    "all-reduce can exceed the rate of its links"
)
WRONG = "one of the two, or the comparison, is wrong"


@dataclass(frozen=True)
class Roof:
    """What a figure is compared with. kind: 'datasheet peak' or 'published'."""

    value: float
    unit: Unit
    basis: str
    source: str
    kind: str = "datasheet peak"

    @property
    def text(self) -> str:
        return f"{declared(self.value, self.unit)}: {self.basis} ({self.source})"


@dataclass(frozen=True)
class Share:
    """ratio is None where there is nothing to compare with; then `note` is the reason. interval: of the ratio, where
    it has been asked for."""

    ratio: float | None
    note: str
    alarm: str = ""
    interval: Interval | None = None


def cite(cluster: Cluster, source: str) -> str:
    """A source's full citation where the definition has one under that short name."""
    return clean(cluster.sources.get(source, source) or "no source given")


def of_peak(figure: Figure, cluster: Cluster, per_device: int = 1) -> Share:
    """Share of the declared peak. per_device: ranks that share one device; above 1 there is none."""
    roof = peak_of(figure, cluster)
    if isinstance(roof, str):
        return Share(None, f"n/a: {roof}")
    if per_device > 1 and figure.name != "busbw":
        return Share(None, f"n/a: {per_device} ranks share one device, and the figure is one rank's")
    return _against(figure, roof)


def of_published(figure: Figure, cluster: Cluster) -> Share:
    """Share of the best published measured figure that is for the same parameters."""
    same = [r for r in cluster.reference if (r.benchmark, r.rate) == (figure.benchmark, figure.name)]
    fits = [r for r in same if not _differs(r, figure)]
    if not fits:
        if not same:
            return Share(None, f"n/a: no published measurement of this known for {clean(cluster.device.name)}")
        others = " or ".join(dict.fromkeys(_differs(reference, figure) for reference in same))
        return Share(None, f"n/a: published figures are for {others}")
    best = max(fits, key=lambda reference: reference.value)
    roof = Roof(best.value, best.unit, _basis(best), cite(cluster, best.source), "published")
    return Share(figure.interval.value / roof.value, f"published, {roof.text}")


def peak_of(figure: Figure, cluster: Cluster) -> Roof | str:
    """The declared peak that bounds a figure, or the reason why there is none."""
    device = clean(cluster.device.name)
    if figure.name == "flops":
        return compute_roof(cluster, str(figure.params.get("dtype", "")))
    if figure.name == "bandwidth" and figure.benchmark in ON_DEVICE:
        return _roof(cluster, cluster.device.bandwidth) or f"no peak memory bandwidth known for {device}"
    if figure.name == "busbw":
        operation, ranks = figure.benchmark.rpartition(".")[2], ranks_of(figure.params)
        if operation == "nccl_tests":
            operation = str(figure.params.get("operation", ""))
        return rail_roof(cluster) if _on_rail(figure.params) else links_roof(cluster, operation, ranks)
    return f"no peak is defined for {clean(figure.name)} of {clean(figure.benchmark)}"


def compute_roof(cluster: Cluster, dtype: str) -> Roof | str:
    """The declared dense peak of a device for that data type, or the reason why there is none."""
    peak = cluster.device.peaks.get(dtype) or cluster.device.peaks.get(dtype.split("_")[0])
    unknown = f"no dense {SHORT.get(dtype, clean(dtype))} peak known for {clean(cluster.device.name)}"
    return _roof(cluster, peak) or unknown


def links_roof(cluster: Cluster, operation: str, ranks: int) -> Roof | str:
    """Highest busbw that the declared links allow.

    Inside a node: `Cluster.links_bandwidth`; on a fully connected node a pair has one link only.
    Beyond it, a ring leaves each node once, through all its NICs together: nics x rate, and never
    more than the links inside. An all-to-all sends (n-d)/(n-1) of its data out of a node of d
    devices, each device through its part of the NICs. Where each rank sends to the next, some pair is
    in two nodes.
    """
    inside = _inside(cluster, operation, min(ranks, cluster.node.devices))
    if isinstance(inside, str) or ranks <= cluster.node.devices:
        return inside
    network, devices = cluster.node.network, cluster.node.devices
    if network is None:
        return f"no network rate known for {clean(cluster.name)}"
    part = rail_roof(cluster)
    assert isinstance(part, Roof)
    if operation in RINGS:
        nics, whole = part.basis.partition(", shared")[0], part.value * devices
        return min(inside, replace(part, value=whole, basis=nics), key=lambda roof: roof.value)
    if operation in PAIRED:
        return min(inside, part, key=lambda roof: roof.value)
    if operation in SPREAD:
        return replace(part, value=part.value * (ranks - 1) / (ranks - devices))
    return f"which links {clean(operation)} uses between nodes is not known"


def _on_rail(params: Params) -> bool:
    return params.get("placement") == "rail"


def rail_roof(cluster: Cluster) -> Roof | str:
    """Highest busbw of ranks that sit on one node each: a device's part of its node's NICs."""
    network, devices = cluster.node.network, cluster.node.devices
    if network is None:
        return f"no network rate known for {clean(cluster.name)}"
    nics = f"{network.nics} NICs × {declared(network.rate.value, network.rate.unit)} a node"
    value = network.nics * network.rate.value / devices
    return Roof(value, Unit.BYTE_PER_SECOND, f"{nics}, shared by {devices} devices", cite(cluster, network.rate.source))


def _inside(cluster: Cluster, operation: str, ranks: int) -> Roof | str:
    link, unknown = cluster.node.link, f"no link bandwidth known for {clean(cluster.device.name)}"
    if link is None or ranks < 2:
        return unknown
    if link.topology == "fully connected" and link.per_link is not None:
        peak, links = link.per_link, 1 if operation in PAIRED else ranks - 1
        basis = f"{links} × {clean(link.kind)} link of {declared(peak.value, peak.unit)}"
        return Roof(links * peak.value, peak.unit, basis, cite(cluster, peak.source))
    return (_roof(cluster, link.per_device) if cluster.links_bandwidth(ranks) else None) or unknown


def _roof(cluster: Cluster, peak: Peak | None) -> Roof | None:
    if peak is None:
        return None
    others = "".join(f"; {declared(d.value, peak.unit)} in {cite(cluster, d.source)}" for d in peak.disagrees)
    return Roof(peak.value, peak.unit, clean(peak.basis), cite(cluster, peak.source) + others)


def above(numerator: str, denominator: str, why: str) -> str:
    """What is said of a share above 100 %: both sides with their sources, and what may explain it."""
    return f"above 100 %: {numerator} over {denominator}: {why}."


def _against(figure: Figure, roof: Roof) -> Share:
    ratio = figure.interval.value / roof.value
    if ratio <= 1:
        return Share(ratio, roof.text)
    operation = figure.benchmark.rpartition(".")[2]
    why = SHARP if operation == "all_reduce" else WRONG
    numerator = f"{plain(figure.interval.value, figure.unit)} ({figure.origin.value} here, {clean(figure.label)})"
    return Share(ratio, roof.text, above(numerator, roof.text, why))


def _differs(reference: Reference, figure: Figure) -> str:
    """The decisive parameters in which a published figure is for something else; '' if it fits."""
    odd = {
        key: value
        for key, value in reference.params.items()
        if key in DECISIVE and key in figure.params and figure.params[key] != value
    }
    return ", ".join(say(key, value) for key, value in odd.items())


def _basis(reference: Reference) -> str:
    said = say_all(reference.params)
    return "; ".join(part for part in (said, clean(reference.note)) if part) or "parameters not stated"
