"""What a cluster is said to be: declared devices, links and networks, each figure with its source.

A definition (clusters/definitions/*.toml) is read into these types. Detected hardware is another
type (`records.FoundDevice`): the two are never mixed (METHOD 18).
"""

from __future__ import annotations

from typing import Literal

from harness.records import Params, Struct
from harness.units import Unit

NCCL_TESTS = "BENCH_NCCL_TESTS"
"""Environment variable that tells ranks the folder of `Launch.nccl_tests`."""


class Dissent(Struct, frozen=True):
    """Another source's value for the same figure."""

    value: float
    source: str


class Peak(Struct, frozen=True):
    """A figure from a source: what a device or link is said to reach."""

    value: float  # in `unit`
    unit: Unit
    basis: str  # what exactly is meant: "dense bf16, per GCD", "per direction and link"
    source: str
    disagrees: tuple[Dissent, ...] = ()


class Price(Struct, frozen=True):
    """Rent of one device for an hour; a range, since prices are."""

    low: float  # USD per device hour
    high: float
    when: str
    source: str


class Device(Struct, frozen=True):
    """One schedulable accelerator: what PyTorch counts as a device (for MI250X, a GCD)."""

    name: str
    vendor: Literal["nvidia", "amd", "cpu", "undeclared"]
    granularity: str  # "GPU", "GCD (half a module)", "all cores of the host"
    matches: tuple[str, ...]  # names that such a device is detected under; * stands for any text
    peaks: dict[str, Peak] = {}  # by data type: float32, tf32, float16, bfloat16, float8, int8
    memory: Peak | None = None  # B
    bandwidth: Peak | None = None  # B/s, device memory
    power: Peak | None = None  # W
    price: Price | None = None
    interruptions: Peak | None = None  # s of one device in a job between two that stop the job


class Link(Struct, frozen=True):
    """What joins the devices inside one node."""

    kind: str  # "NVLink 4 + NVSwitch", "xGMI", "shared memory"
    topology: Literal["switched", "fully connected", "ring", "mixed", "host memory"]
    per_device: Peak | None = None  # B/s out of one device, one direction, all its links
    per_link: Peak | None = None  # B/s of one link, one direction
    links: int | None = None  # links per device


class Network(Struct, frozen=True):
    """What joins the nodes."""

    kind: str
    nics: int  # per node
    rate: Peak  # B/s, one NIC, one direction
    topology: str  # "rails only", "rail-optimised fat tree"


class Storage(Struct, frozen=True):
    """Disks inside one node that training may write to; the operating system's own are not counted."""

    capacity: Peak  # B, all of them
    read: Peak | None = None  # B/s, all of them
    write: Peak | None = None  # B/s, all of them


class Node(Struct, frozen=True):
    devices: int
    link: Link | None = None
    network: Network | None = None
    memory: Peak | None = None  # B, of the host, its devices' own not counted
    storage: Storage | None = None


class Reference(Struct, frozen=True):
    """A published *measured* figure, to stand beside ours (origin `published`)."""

    benchmark: str  # benchmark that measures the same: "collectives.all_reduce"
    rate: str  # its rate: "busbw", "flops", "bandwidth"
    value: float
    unit: Unit
    source: str
    params: Params = {}  # cell it corresponds to, as far as it is known: dtype, ranks, size
    note: str = ""


class Launch(Struct, frozen=True):
    """How ranks are started on this cluster."""

    launcher: Literal["torchrun"] = "torchrun"
    ranks_per_node: int | None = None  # None: one per device; on CPU, 2
    environment: dict[str, str] = {}  # NCCL_*, RCCL_*, ... set for every rank, and recorded
    nccl_tests: str | None = None  # folder of the vendors' own programs: all_reduce_perf, ...

    @property
    def variables(self) -> dict[str, str]:
        """All that is set for every rank."""
        return self.environment | ({NCCL_TESTS: self.nccl_tests} if self.nccl_tests else {})


class Cluster(Struct, frozen=True):
    """A definition, whole."""

    name: str
    title: str
    accelerator: Literal["cpu", "cuda", "rocm", "undeclared"]
    nodes: int
    device: Device
    node: Node
    description: str = ""
    launch: Launch = Launch()
    reference: tuple[Reference, ...] = ()
    sources: dict[str, str] = {}  # short name used in `source` -> full citation

    @property
    def devices(self) -> int:
        """Devices of the whole cluster."""
        return self.nodes * self.node.devices

    def links_bandwidth(self, ranks: int) -> float | None:
        """B/s that one device can send to `ranks` - 1 others of its node, one direction.

        On a fully connected node (xGMI) a collective over n devices can use only n-1 of each
        device's links: (n-1) x B_link (FORMULAS: MI300X, 448 GB/s at n = 8). A switch gives a
        device its full rate at any n. None where the definition cannot tell.
        """
        link = self.node.link
        if link is None or ranks < 2:
            return None
        if link.topology == "fully connected" and link.per_link is not None:
            return (min(ranks, self.node.devices) - 1) * link.per_link.value
        if link.topology == "mixed" and ranks < self.node.devices:
            return None  # it depends on which devices they are
        return link.per_device.value if link.per_device else None


UNDECLARED = Cluster(
    name="undeclared",
    title="logs whose cluster was not declared",
    accelerator="undeclared",
    nodes=0,
    device=Device("undeclared", "undeclared", "unknown", ()),
    node=Node(0),
)
"""What logs ran on where nobody says: nothing of it is known, so no share of a peak is."""
