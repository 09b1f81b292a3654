"""This machine as a definition file: a start to which a person adds what only papers know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import tomli_w

from harness.hardware import Cluster

HEADER = """\
# A definition, as docs/clusters.md describes it, of the machine that wrote it.
# It holds what was found here and what a shipped definition says of such devices, nothing else.
# To keep it: give it a `name` of its own, then `bench clusters validate FILE`.
"""


def definition_toml(cluster: Cluster) -> str:
    """The cluster as TOML that `validate` reads back to the same cluster.

    What is unknown is absent; a comment for each such key says how to add it.
    """
    document: dict[str, Any] = msgspec.to_builtins(cluster)
    return "\n".join([HEADER, tomli_w.dumps(document), *_missing(cluster)])


def _missing(cluster: Cluster) -> Iterator[str]:
    """Comments for the figures that are not known, each as the line it would be in its table."""
    device, node = cluster.device, cluster.node
    wanted = [
        (device.peaks, "device.peaks", "bfloat16", "FLOP/s", "dense"),
        (device.memory, "device", "memory", "B", "size of one device's memory"),
        (device.bandwidth, "device", "bandwidth", "B/s", "peak of one device's memory"),
        (device.power, "device", "power", "W", "maximum of one device"),
        (device.interruptions, "device", "interruptions", "s", "one device, mean between two that stop its job"),
        (node.devices == 1 or (node.link and node.link.per_device), "node.link", "per_device", "B/s", "one direction"),
    ]
    lines = [
        f'#   [{table}] {key} = {{ value = ..., unit = "{unit}", basis = "{basis}", source = "..." }}'
        for known, table, key, unit, basis in wanted
        if not known
    ]
    if device.price is None:
        lines.append('#   [device.price] low = ..., high = ..., when = "...", source = "..." (USD per device hour)')
    if lines:
        yield "# Not known, so absent. To add one, write its line into the table named, and its source into [sources]:"
        yield from lines
        yield ""
