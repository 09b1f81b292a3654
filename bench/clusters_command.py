"""`bench clusters show | validate | probe`."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import msgspec

from bench.output import emit, table
from clusters import definition
from harness import units
from harness.errors import UsageError
from harness.files import write_atomically
from harness.hardware import Cluster, Peak


def show(args: argparse.Namespace) -> int:
    """A definition with every figure's basis and source."""
    cluster = definition.load(args.cluster)
    emit(args.json, {"cluster": msgspec.to_builtins(cluster)}, _text(cluster))
    return 0


def validate(args: argparse.Namespace) -> int:
    """0 where the file is a definition; else the errors say file, key and what is accepted (exit 2)."""
    cluster = definition.validate(Path(args.file))
    emit(
        args.json,
        {"file": args.file, "valid": True, "name": cluster.name, "devices": cluster.devices},
        f"{args.file}: valid: {cluster.title}, {cluster.devices} devices",
    )
    return 0


def probe(args: argparse.Namespace) -> int:
    """A definition of this machine, to a file that does not exist yet or to standard output."""
    from clusters.local import detect
    from clusters.probe import definition_toml

    cluster = detect()
    text = definition_toml(cluster)
    document = {"cluster": msgspec.to_builtins(cluster), "toml": text, "file": args.out}
    if args.out is None:
        emit(args.json, document, text.rstrip())
        return 0
    target = Path(args.out)
    if target.exists():
        raise UsageError(f"{target} exists; name a file that does not, with --out")
    write_atomically(target, text.encode())
    emit(args.json, document, f"written: {target}; check it with `bench clusters validate {target}`")
    return 0


def _text(cluster: Cluster) -> str:
    device, node = cluster.device, cluster.node
    lines = [f"{cluster.name}: {cluster.title}"]
    lines += textwrap.wrap(cluster.description, 100)
    lines.append(f"{cluster.nodes} nodes x {node.devices} devices ({device.granularity}) = {cluster.devices}")
    figures = [(f"peak {dtype}", peak) for dtype, peak in device.peaks.items()]
    named = {"memory": device.memory, "memory bandwidth": device.bandwidth, "power": device.power}
    named["between interruptions"] = device.interruptions
    figures += [(name, peak) for name, peak in named.items() if peak]
    if node.link:
        lines.append(f"inside a node: {node.link.kind}, {node.link.topology}")
        figures += [(n, p) for n, p in (("per device", node.link.per_device), ("per link", node.link.per_link)) if p]
    if node.network:
        lines.append(f"between nodes: {node.network.kind}, {node.network.nics} NICs a node, {node.network.topology}")
        figures.append(("NIC", node.network.rate))
    if figures:
        lines += ["", table(["figure", "value", "basis", "source"], [_row(*f) for f in figures], right=[1])]
    if not device.peaks:
        lines.append("no peak is known for this device, so no share of peak is shown")
    if device.price:
        price = device.price
        lines.append(f"price: {price.low} to {price.high} USD per device hour ({price.when}, {price.source})")
    if cluster.reference:
        rows = [
            [r.benchmark, units.show(r.value, r.unit), " ".join(f"{k}={v}" for k, v in r.params.items()), r.source]
            for r in cluster.reference
        ]
        lines += ["", "published, measured elsewhere:", table(["benchmark", "value", "at", "source"], rows, right=[1])]
    lines += ["", *(f"[{name}] {text}" for name, text in cluster.sources.items())]
    return "\n".join(lines)


def _row(name: str, peak: Peak) -> list[str]:
    others = "".join(f"; {units.show(other.value, peak.unit)} by {other.source}" for other in peak.disagrees)
    return [name, units.show(peak.value, peak.unit), peak.basis, f"{peak.source}{others}"]
