"""The machine at hand as a cluster: what is found here, and only that, plus the figures of a shipped
definition where the device is one it describes.

What nobody has told stays absent (METHOD 17): a CPU, or a GPU without definition, has no peak, and
so no share of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from clusters.definition import LOCAL, load, names
from clusters.matching import fits
from clusters.plausibility import VENDORS
from harness.errors import CannotRun
from harness.hardware import Cluster, Device, Launch, Link, Node, Peak, Reference
from harness.records import FoundDevice
from harness.units import Unit

DETECTED = {"detected": "read from this machine"}

CPU_RANKS = 2
"""Ranks on a host without accelerator: a collective needs two, and gloo between two processes
measures a real path through memory, while more would share the same cores."""

MEMORY_TOLERANCE = 0.15
"""How far found memory may lie from the declared: vendors print GiB as GB (7 %) and reserve some;
a partition (MI300X in CPX mode, under its whole name) has an eighth."""


def detect() -> Cluster:
    """This machine, looked at now. CannotRun where no device, or different ones, are found."""
    from clusters import accelerators  # loads management libraries: only when a device is asked for

    kind = accelerators.detect()
    return describe(kind, accelerators.create(kind).found())


def describe(accelerator: str, found: Sequence[FoundDevice]) -> Cluster:
    """The cluster `local` for the devices that the accelerator (cpu, cuda or rocm) found."""
    if not found:
        raise CannotRun(f"accelerator '{accelerator}' found no device on this machine. See `bench doctor`.")
    if accelerator == "cpu":
        return _host(found[0])
    kinds = sorted({device.name for device in found})
    if len(kinds) > 1:
        hide = "HIP_VISIBLE_DEVICES" if accelerator == "rocm" else "CUDA_VISIBLE_DEVICES"
        raise CannotRun(
            f"this machine has different devices: {', '.join(kinds)}. Ranks measure one kind at a time: "
            f"choose some of the same kind with {hide}."
        )
    known = next((cluster for cluster in _shipped() if _is_same(cluster, found)), None)
    return _unknown(accelerator, found) if known is None else _known(known, found)


def _host(cpu: FoundDevice) -> Cluster:
    """A machine without accelerator: all its cores are one device."""
    cores = f" (cores: {cpu.details['cores']})" if "cores" in cpu.details else ""
    device = Device(
        name=cpu.name,
        vendor="cpu",
        granularity="all cores of the host",
        matches=(cpu.name,),
        memory=_memory(cpu, "memory of the host, as the operating system counts it"),
    )
    return Cluster(
        name=LOCAL,
        title=f"this machine: {cpu.name}{cores}",
        accelerator="cpu",
        nodes=1,
        device=device,
        node=Node(devices=1, link=Link(kind="shared memory of the host", topology="host memory")),
        launch=Launch(ranks_per_node=CPU_RANKS),
        sources=DETECTED,
    )


def _known(known: Cluster, found: Sequence[FoundDevice]) -> Cluster:
    """This machine's devices with a definition's figures.

    The links inside the node are taken only where the count is the definition's: a board with fewer
    devices may be wired otherwise. The network is never taken: nothing here has looked at it.
    """
    count = len(found)
    link = known.node.link if count == known.node.devices else None
    said = "" if link or count == 1 else f" Links between {count} devices: unknown."
    return replace(
        known,
        name=LOCAL,
        title=f"this machine: {count} x {found[0].name}; figures from definition {known.name}",
        description=f"Devices as found; peaks, memory, power, price and interruptions from {known.name}.{said}",
        nodes=1,
        node=Node(devices=count, link=link),
        launch=Launch(),
        reference=tuple(_references(known.reference, count)),
        sources=known.sources | DETECTED,
    )


def _references(entries: Sequence[Reference], count: int) -> Iterator[Reference]:
    """Published figures that this machine could reach: none that took more ranks than it has."""
    for entry in entries:
        ranks = entry.params.get("ranks")
        if not isinstance(ranks, int) or ranks <= count:
            yield entry


def _unknown(accelerator: str, found: Sequence[FoundDevice]) -> Cluster:
    """Devices that no definition describes: a name, a count, their memory."""
    first = found[0]
    device = Device(
        name=first.name,
        vendor="amd" if accelerator == "rocm" else "nvidia",
        granularity="device, as PyTorch counts it",
        matches=(first.name,),
        memory=_memory(first, "memory of the device, as its management library counts it"),
    )
    return Cluster(
        name=LOCAL,
        title=f"this machine: {len(found)} x {first.name}; no definition has figures for it",
        accelerator="rocm" if accelerator == "rocm" else "cuda",
        nodes=1,
        device=device,
        node=Node(devices=len(found)),
        sources=DETECTED,
    )


def _memory(device: FoundDevice, basis: str) -> Peak | None:
    if device.memory is None:
        return None
    return Peak(value=float(device.memory), unit=Unit.BYTE, basis=basis, source="detected")


def _shipped() -> Iterator[Cluster]:
    yield from (load(name) for name in names() if name != LOCAL)


def _is_same(cluster: Cluster, found: Sequence[FoundDevice]) -> bool:
    """Whether these are the definition's devices: vendor, name, and memory where it is known."""
    device, first = cluster.device, found[0]
    if first.vendor != VENDORS[cluster.accelerator] or not fits(device, first.name):
        return False
    if first.memory is None or device.memory is None:
        return True
    return abs(first.memory / device.memory.value - 1) <= MEMORY_TOLERANCE
