"""Counters of InfiniBand and RoCE ports, from the kernel's /sys/class/infiniband (Documentation/ABI/stable/
sysfs-class-infiniband). Bytes are counted there in words of four."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

WORD = 4  # B
COUNTERS: dict[str, tuple[str, int]] = {
    "counters/port_xmit_data": ("sent", WORD),
    "counters/port_rcv_data": ("received", WORD),
    "counters/port_xmit_wait": ("transmit_wait", 1),
    "counters/port_rcv_errors": ("receive_errors", 1),
    "counters/symbol_error": ("symbol_errors", 1),
    "counters/link_downed": ("link_downed", 1),
    "hw_counters/packet_seq_err": ("retransmits", 1),
    "hw_counters/local_ack_timeout_err": ("ack_timeouts", 1),
    "hw_counters/out_of_sequence": ("out_of_sequence", 1),
    "hw_counters/rnr_nak_retry_err": ("receiver_not_ready", 1),
    "hw_counters/np_cnp_sent": ("congestion_sent", 1),
    "hw_counters/rp_cnp_handled": ("congestion_handled", 1),
    "hw_counters/np_ecn_marked_roce_packets": ("congestion_marked", 1),
}
"""File below a port -> what it counts, and how much one count is."""


def ports(root: Path = Path("/")) -> Iterator[Path]:
    """The folder of each port of each adapter, in the order of their names."""
    yield from sorted(root.glob("sys/class/infiniband/*/ports/*"))


def name(port: Path) -> str:
    """'mlx5_0/1' as rdma tools write it."""
    return f"{port.parent.parent.name}/{port.name}"


class NicProbe:
    """Counters of one port. What the adapter does not count is absent; a port that is gone reads nothing."""

    def __init__(self, port: Path) -> None:
        self._port = port

    def read(self) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for file, (counter, scale) in COUNTERS.items():
            try:
                said = (self._port / file).read_text().strip()
            except OSError:
                continue
            if said.isdigit():
                values[counter] = float(int(said) * scale)
        return values

    def close(self) -> None:
        """No file stays open."""
