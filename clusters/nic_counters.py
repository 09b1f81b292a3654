"""Counters of InfiniBand and RoCE ports, from the kernel's /sys/class/infiniband (Documentation/ABI/stable/
sysfs-class-infiniband). Bytes are counted there in words of four."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.telemetry import ProbeLost

WORD = 4  # B
COUNTERS: dict[str, tuple[str, int]] = {
    "counters/port_xmit_data": ("sent", WORD),
    "counters/port_rcv_data": ("received", WORD),
    "counters/port_xmit_wait": ("transmit_wait", 1),
    "counters/port_xmit_discards": ("transmit_discards", 1),
    "counters/port_rcv_errors": ("receive_errors", 1),
    "counters/symbol_error": ("symbol_errors", 1),
    "counters/link_error_recovery": ("link_recoveries", 1),
    "counters/link_downed": ("link_downed", 1),
    "hw_counters/packet_seq_err": ("retransmits", 1),
    "hw_counters/local_ack_timeout_err": ("ack_timeouts", 1),
    "hw_counters/out_of_sequence": ("out_of_sequence", 1),
    "hw_counters/out_of_buffer": ("out_of_buffer", 1),
    "hw_counters/rnr_nak_retry_err": ("receiver_not_ready", 1),
    "hw_counters/roce_adp_retrans": ("adaptive_retransmits", 1),
    "hw_counters/np_cnp_sent": ("congestion_sent", 1),
    "hw_counters/rp_cnp_handled": ("congestion_handled", 1),
    "hw_counters/np_ecn_marked_roce_packets": ("congestion_marked", 1),
}
"""File below a port -> what it counts, and how much one count is. packet_seq_err counts NAKs for a packet out of
sequence that this port was sent, each of which makes it send again (mlx5)."""
SUMS: dict[str, tuple[str, ...]] = {
    "sent": ("counters/port_xmit_data",),
    "received": ("counters/port_rcv_data",),
    "retransmits": ("hw_counters/packet_seq_err", "hw_counters/local_ack_timeout_err", "hw_counters/roce_adp_retrans"),
    "congestion": ("hw_counters/rp_cnp_handled", "hw_counters/np_ecn_marked_roce_packets"),
    "link_errors": ("counters/symbol_error", "counters/link_downed", "counters/port_rcv_errors"),
}
"""What is read beside every benchmark: sums over the ports of a node."""


def ports(root: Path = Path("/")) -> Iterator[Path]:
    """The folder of each port of each adapter, in the order of their names."""
    yield from sorted(root.glob("sys/class/infiniband/*/ports/*"))


def name(port: Path) -> str:
    """'mlx5_0/1' as rdma tools write it."""
    return f"{port.parent.parent.name}/{port.name}"


def described(port: Path) -> tuple[str, ...]:
    """What a port says of itself, in words: its link layer, state and rate."""
    words = ((file, _line(port / file)) for file in ("link_layer", "state", "phys_state", "rate"))
    return tuple(f"{file.replace('_', ' ')}: {said}" for file, said in words if said)


class _Files:
    """Files that are read again and again, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def number(self, path: Path) -> int:
        """The whole number in a file; OSError or ValueError where there is none."""
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return int(os.pread(self._open[path], 64, 0))

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


class NicProbe:
    """All counters of one port, and 'rate' (B/s, of the link; 0 where it is not active). What the adapter does not
    count is absent, for the reason in `absent`; a port that is gone ends the probe with ProbeLost."""

    def __init__(self, port: Path) -> None:
        self.absent: dict[str, str] = {}
        self._port, self._files = port, _Files()

    def read(self) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for file, (counter, scale) in COUNTERS.items():
            if counter in self.absent:
                continue
            try:
                values[counter] = float(self._files.number(self._port / file) * scale)
            except OSError as error:
                self._gone(error)
                self.absent[counter] = f"{file}: {error.strerror}"
            except ValueError:
                self.absent[counter] = f"{file}: '{_line(self._port / file)}'"
        rate = _rate(self._port)
        return values | ({} if rate is None else {"rate": rate})

    def _gone(self, error: OSError) -> None:
        if not self._port.is_dir():
            raise ProbeLost(f"the port {name(self._port)} is gone") from error

    def close(self) -> None:
        self._files.close()


class NicSums:
    """SUMS over these ports, cheaply: a few files of each, kept open. A counter that no port has is absent."""

    def __init__(self, ports: Sequence[Path]) -> None:
        self._files = _Files()
        self._read = {
            sum_: [(path, COUNTERS[file][1]) for port in ports for file in files if self._counts(path := port / file)]
            for sum_, files in SUMS.items()
        }

    def _counts(self, path: Path) -> bool:
        try:
            self._files.number(path)
        except (OSError, ValueError):
            return False
        return True

    def read(self) -> Mapping[str, float]:
        try:
            return {
                name: float(sum(self._files.number(path) * scale for path, scale in read))
                for name, read in self._read.items() if read
            }  # fmt: skip
        except (OSError, ValueError):  # an adapter that was taken away: the device's telemetry goes on without it
            self._read = {}
            return {}

    def close(self) -> None:
        self._files.close()


def _rate(port: Path) -> float | None:
    """B/s of '400 Gb/sec (4X NDR)'; 0 of a port whose state is not '4: ACTIVE'."""
    if not _line(port / "state").endswith("ACTIVE"):
        return 0.0 if _line(port / "state") else None
    gigabits, _, rest = _line(port / "rate").partition(" ")
    try:
        return float(gigabits) * 1e9 / 8 if rest.startswith("Gb/sec") else None
    except ValueError:
        return None


def _line(path: Path) -> str:
    """A small file's text; '' where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
