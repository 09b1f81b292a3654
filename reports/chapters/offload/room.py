"""The largest model that the declared cluster has room for, by stage and tier: from its definition, by the formulas."""

from __future__ import annotations

import msgspec

from harness import models
from harness.hardware import Cluster
from harness.models.counts import parameters
from harness.models.zero import Plan, Tier, Tiers, largest
from reports.chapters.offload.cells import NONE, short
from reports.model import Column, Group, Notes, Table, Text
from reports.numbers import GAP
from reports.shares import cite
from reports.subject import Subject
from reports.text import clean, counted

WIDTHS = ("llama3-70b", "llama3-8b", "tiny")
"""The first of these of which any layer fits at stage 3 without offload."""
SEQUENCE, BATCH = 2048, 1
PLANS: tuple[tuple[int, Tier, Tier], ...] = (
    (0, "none", "none"), (1, "none", "none"), (2, "none", "none"), (3, "none", "none"), (2, "cpu", "none"),
    (3, "cpu", "none"), (3, "cpu", "cpu"), (3, "nvme", "none"), (3, "nvme", "nvme"),
)  # fmt: skip


def tables(subject: Subject) -> list[Table]:
    """One table; none where the definition does not know a device's memory."""
    cluster = subject.cluster
    if cluster.device.memory is None:
        return []
    notes, name = Notes(), next((each for each in WIDTHS if _layers(cluster, each, _plan(cluster, 3))), WIDTHS[-1])
    rows = tuple(_row(cluster, name, *plan, notes) for plan in PLANS)
    columns = (
        Column("Stage, tiers", share=40), Column("Layers (modelled)", numeric=True, share=30),
        Column("Parameters (modelled)", numeric=True, share=30),
    )  # fmt: skip
    source = cite(cluster, cluster.device.memory.source)
    caption = (
        f"Largest model of {name}'s widths that {counted(cluster.nodes, 'node')} of {cluster.node.devices} × "
        f"{clean(cluster.device.name)} has room for: Adam in mixed precision, up to {SEQUENCE:,} tokens a "
        "device, a checkpoint a layer. By the formulas of ZeRO and ZeRO-Infinity, from declared memory sizes; buffers, "
        f"fragmentation and what libraries take are not in it. Device memory: {source}. Modelled, not measured."
    )
    found = Group("", rows)
    return [Table(subject.identifier("offload-room"), caption, columns, (found,), tuple(notes.texts))]


def _row(cluster: Cluster, widths: str, stage: int, optimizer: Tier, weights: Tier, notes: Notes) -> tuple[Text, ...]:
    name = Text(short({"stage": stage, "optimizer": optimizer, "parameters": weights}))
    unknown = [words for tier, words in _room(cluster)[1].items() if tier in (optimizer, weights)]
    if unknown:
        return name, NONE, Text("n/a", mark=notes.mark(unknown[0]))
    layers = _layers(cluster, widths, _plan(cluster, stage, optimizer, weights))
    if not layers:
        return name, Text("0"), Text("not one layer")
    whole = parameters(msgspec.structs.replace(models.load(widths), layers=layers))
    return name, Text(f"{layers:,}"), Text(plain_count(whole))


def plain_count(number: float) -> str:
    """'22.0 M', '405.9 B': parameters as the field counts them."""
    factor, letter = (1e9, "B") if number >= 1e9 else (1e6, "M")
    return f"{number / factor:,.1f}{GAP}{letter}"


def _plan(cluster: Cluster, stage: int, optimizer: Tier = "none", weights: Tier = "none") -> Plan:
    return Plan(stage, cluster.devices, cluster.node.devices, optimizer, weights)


def _layers(cluster: Cluster, widths: str, plan: Plan) -> int:
    room, _ = _room(cluster)
    sequence = min(SEQUENCE, models.load(widths).context)
    return largest(models.load(widths), plan, room, sequence, BATCH, apart=cluster.accelerator != "cpu")


def _room(cluster: Cluster) -> tuple[Tiers, dict[str, str]]:
    """B by tier, 0 for one that the definition does not know, with the words for it. Where the processors are the
    device, its memory is the host's."""
    assert cluster.device.memory is not None
    node, missing = cluster.node, dict[str, str]()
    host = cluster.device.memory if cluster.accelerator == "cpu" else node.memory
    if host is None:
        missing["cpu"] = "n/a: the definition does not say how much memory a host has (node.memory)"
    if node.storage is None:
        missing["nvme"] = "n/a: the definition does not say what disks a node has (node.storage)"
    sizes = host.value if host else 0.0, node.storage.capacity.value if node.storage else 0.0
    return Tiers(cluster.device.memory.value, *sizes), missing
