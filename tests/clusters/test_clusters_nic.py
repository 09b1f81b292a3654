"""Ports of InfiniBand and RoCE adapters: made-up folders with the kernel's names and the forms it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clusters import nic_counters
from harness.telemetry import ProbeLost

INFINIBAND = {
    "link_layer": "InfiniBand", "state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "400 Gb/sec (4X NDR)",
    "counters/port_xmit_data": "250", "counters/port_rcv_data": "1000", "counters/port_xmit_wait": "17",
    "counters/symbol_error": "1", "counters/link_downed": "0", "hw_counters/packet_seq_err": "3",
}  # fmt: skip
ROCE = {
    "link_layer": "Ethernet", "state": "4: ACTIVE", "rate": "100 Gb/sec (4X EDR)",
    "counters/port_xmit_data": "4", "counters/port_rcv_data": "8", "hw_counters/np_cnp_sent": "7",
    "hw_counters/rp_cnp_handled": "5", "hw_counters/np_ecn_marked_roce_packets": "6",
    "hw_counters/local_ack_timeout_err": "2",
}  # fmt: skip


def lay(root: Path, port: str, files: dict[str, str]) -> Path:
    device, _, number = port.partition("/")
    folder = root / "sys/class/infiniband" / device / "ports" / number
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"{text}\n")
    return folder


def test_a_port_is_read_in_bytes_and_what_it_lacks_has_a_reason(tmp_path: Path) -> None:
    port = lay(tmp_path, "mlx5_0/1", {**INFINIBAND, "counters/port_rcv_errors": "N/A (no PMA)"})
    probe = nic_counters.NicProbe(port)
    assert probe.read() == {
        "sent": 1000.0, "received": 4000.0, "transmit_wait": 17.0, "symbol_errors": 1.0, "link_downed": 0.0,
        "retransmits": 3.0, "rate": 50e9,
    }  # fmt: skip
    assert "N/A (no PMA)" in probe.absent["receive_errors"]
    assert "No such file" in probe.absent["congestion_marked"]
    probe.close()


def test_counters_are_read_anew_though_their_files_stay_open(tmp_path: Path) -> None:
    port = lay(tmp_path, "mlx5_0/1", INFINIBAND)
    probe = nic_counters.NicProbe(port)
    probe.read()
    lay(tmp_path, "mlx5_0/1", {"counters/port_xmit_data": "251"})
    assert probe.read()["sent"] == 1004.0
    probe.close()


@pytest.mark.parametrize(
    ("files", "rate"),
    [
        ({"state": "1: DOWN", "rate": "10 Gb/sec (4X SDR)"}, 0.0),
        ({"state": "4: ACTIVE", "rate": "fast"}, None),
        ({"state": "4: ACTIVE", "rate": "2.5 Gb/sec (1X SDR)"}, 2.5e9 / 8),
        ({"state": "4: ACTIVE"}, None),
    ],
)
def test_the_rate_is_that_of_an_active_link(tmp_path: Path, files: dict[str, str], rate: float | None) -> None:
    port = lay(tmp_path, "mlx5_0/1", {"counters/port_xmit_data": "1", **files})
    assert nic_counters.NicProbe(port).read().get("rate") == rate


def test_a_port_is_described_in_words(tmp_path: Path) -> None:
    port = lay(tmp_path, "mlx5_0/1", INFINIBAND)
    assert nic_counters.described(port) == (
        "link layer: InfiniBand", "state: 4: ACTIVE", "phys state: 5: LinkUp", "rate: 400 Gb/sec (4X NDR)",
    )  # fmt: skip


def test_a_port_that_is_gone_ends_its_probe(tmp_path: Path) -> None:
    port = lay(tmp_path, "mlx5_0/1", INFINIBAND)
    shutil.rmtree(port)
    with pytest.raises(ProbeLost, match="mlx5_0/1 is gone"):
        nic_counters.NicProbe(port).read()


def test_sums_are_over_ports_and_over_counters_of_one_meaning(tmp_path: Path) -> None:
    ports = [lay(tmp_path, "mlx5_0/1", INFINIBAND), lay(tmp_path, "mlx5_1/1", ROCE)]
    assert list(nic_counters.ports(tmp_path)) == ports
    probe = nic_counters.NicSums(ports)
    assert probe.read() == {
        "sent": 1016.0, "received": 4032.0, "retransmits": 5.0, "congestion": 11.0, "link_errors": 1.0,
    }  # fmt: skip
    probe.close()


def test_sums_of_a_counter_that_no_port_has_are_absent(tmp_path: Path) -> None:
    port = lay(tmp_path, "efa_0/1", {"counters/port_xmit_data": "1"})
    assert nic_counters.NicSums([port]).read() == {"sent": 4.0}
    assert nic_counters.NicSums([]).read() == {}
