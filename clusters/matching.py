"""Declared against found: a run on hardware other than the definition's is refused (METHOD 18)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.errors import CannotRun
from harness.hardware import Cluster, Device
from harness.records import FoundDevice

NEXT = (
    "Next: `--cluster local` measures what is here, `--dry-run` prints the plan for what was declared, "
    "`--simulate` runs it on a model."
)


def fits(device: Device, name: str) -> bool:
    """Whether a device that reports `name` is such a device.

    A text in `matches` is the whole name, case aside, with '*' for any text. The whole, since parts
    mislead: 'NVIDIA H200' begins 'NVIDIA H200 NVL', and a MIG slice's name begins with its GPU's.
    """
    return any(re.fullmatch(_pattern(text), " ".join(name.split()), re.IGNORECASE) for text in device.matches)


def check(cluster: Cluster, found: Sequence[FoundDevice], accelerator_found: str, nodes: int = 1) -> None:
    """CannotRun unless this host is a node of the cluster.

    The accelerator, every device's vendor and name, and the number of devices must be as declared:
    fewer is a broken or partitioned node, more is another machine. `nodes` hosts take part; using
    only some of a cluster's nodes is no mismatch, and the record says how many there were.
    """
    differences = list(_differences(cluster, found, accelerator_found, nodes))
    if differences:
        raise CannotRun(
            f"this is not cluster '{cluster.name}'.\n"
            f"  declared: {declared(cluster)}\n"
            f"  found: {found_here(found, accelerator_found, nodes)}\n"
            + "".join(f"  {difference}\n" for difference in differences)
            + NEXT
        )


def declared(cluster: Cluster) -> str:
    """'128 nodes x 8 AMD Instinct MI300X (rocm)'."""
    return f"{_nodes(cluster.nodes)} x {cluster.node.devices} {cluster.device.name} ({cluster.accelerator})"


def found_here(found: Sequence[FoundDevice], accelerator: str, nodes: int = 1) -> str:
    """'1 node x 1 AMD EPYC (cpu; cores: 2 physical, 2 logical, 2 allowed)'."""
    counts = Counter(device.name for device in found)
    cores = next((device.details["cores"] for device in found if "cores" in device.details), None)
    words = f"{accelerator}; cores: {cores}" if cores else accelerator
    devices = " + ".join(f"{count} {name}" for name, count in counts.items()) or "no device"
    return f"{_nodes(nodes)} x {devices} ({words})"


def _differences(cluster: Cluster, found: Sequence[FoundDevice], accelerator: str, nodes: int) -> Iterator[str]:
    device, wanted = cluster.device, cluster.node.devices
    if accelerator != cluster.accelerator:
        yield f"accelerator: declared {cluster.accelerator}, found {accelerator}"
    else:
        foreign = sorted({one.vendor for one in found} - {device.vendor})
        if foreign:
            yield f"vendor: declared {device.vendor}, found {', '.join(foreign)}"
        others = sorted({one.name for one in found if not fits(device, one.name)})
        if others:
            known = ", ".join(f"'{text}'" for text in device.matches)
            yield f"device: found '{', '.join(others)}'; such a device reports itself as one of {known}"
    if len(found) != wanted:
        yield f"devices on this host: declared {wanted}, found {len(found)}"
    if nodes > cluster.nodes:
        yield f"nodes: declared {cluster.nodes}, asked for {nodes}"


def _pattern(text: str) -> str:
    return ".*".join(re.escape(part) for part in " ".join(text.split()).split("*"))


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
