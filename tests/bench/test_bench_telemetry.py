"""`bench collect --telemetry`: this machine, a made-up adapter, a real HTTP server that speaks as exporters do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import collect_telemetry, main
from clusters import nic_counters
from collectors.telemetry import prometheus
from collectors.telemetry.gathered import Gathered
from harness.errors import UsageError
from harness.records import Origin

DCGM = """# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-1",Hostname="node-3"} 1980
DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-2",Hostname="node-3"} 1755
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",Hostname="node-3"} 631.95
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-1",Hostname="node-3"} 5000
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",Hostname="node-3"} NaN
# TYPE something_else gauge
something_else 4
"""


@pytest.fixture
def exporter() -> Iterator[Callable[[str], str]]:
    servers: list[HTTPServer] = []

    def serve(text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def told(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main.main(["collect", "--telemetry", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_an_exporter_is_a_source_in_base_units(exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    url = exporter(DCGM)
    found = told(capfd, "--seconds", "300ms", "--from", url, "--out", str(tmp_path))
    by_device = {one["params"]["device"]: one for one in found["records"]}
    first = by_device["0"]["quantities"]
    assert by_device["0"]["params"]["host"] == "node-3"
    values = {name: quantity["value"] for name, quantity in first.items()}
    assert values == {"clock": 1.98e9, "power": 631.95, "energy": 5.0}
    assert first["clock"]["origin"] == "parsed"
    assert first["clock"]["unit"] == "Hz"
    assert first["clock"]["n"] >= 2
    assert set(by_device["1"]["quantities"]) == {"clock"}


def test_this_machine_is_a_source(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = told(capfd, "--seconds", "400ms", "--out", str(tmp_path))
    host = next(one for one in found["records"] if one["benchmark"] == "telemetry.host")
    assert host["quantities"]["memory"]["origin"] == "measured"
    assert host["quantities"]["load"]["n"] >= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "ftp://x"), "accepted is http://"),
        (("--from", "http://127.0.0.1:9/metrics"), "Is the exporter running"),
        (("--period", "1ms"), "at least 10ms"),
        (("--seconds", "soon"), "no duration"),
        (("some.log",), "does not read some.log"),
    ],
)  # fmt: skip
def test_bad_use_is_named(arguments: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["collect", "--telemetry", "--seconds", "1s", *arguments]) == 2
    assert said in capfd.readouterr().err


def test_what_is_no_exporter_is_named(exporter, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no text of Prometheus"):
        prometheus.read('a{b="c 1\n', "http://x")
    assert prometheus.read("something_else 4\n", "http://x").unknown == 1
    assert main.main(["collect", "--telemetry", "--seconds", "1s", "--from", exporter("something_else 4\n")]) == 3
    assert "none of a family that is known" in capfd.readouterr().err


def test_ports_of_adapters_are_counted_in_bytes_and_what_is_missing_is_absent(tmp_path: Path) -> None:
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    (port / "counters").mkdir(parents=True)
    (port / "hw_counters").mkdir()
    (port / "counters/port_xmit_data").write_text("250\n")
    (port / "counters/port_rcv_data").write_text("N/A (no PMA)\n")
    (port / "hw_counters/np_cnp_sent").write_text("7\n")
    (found,) = nic_counters.ports(tmp_path)
    assert nic_counters.name(found) == "mlx5_0/1"
    assert nic_counters.NicProbe(found).read() == {"sent": 1000.0, "congestion_sent": 7.0}


def test_a_source_that_goes_away_ends_and_the_others_go_on() -> None:
    """As where a driver is unloaded: what was read before is kept, and the reason is told."""
    lost, held = Gathered("telemetry.device", {}, Origin.MEASURED), Gathered("telemetry.host", {}, Origin.MEASURED)

    def fail() -> None:
        if lost.readings == 2:
            raise OSError("the device fell off the bus")
        lost.add({"power": 300.0})

    sources = [
        collect_telemetry._Source("device", fail, [lost]),
        collect_telemetry._Source("host", lambda: held.add({"load": 1.0}), [held]),
    ]
    collect_telemetry._sample(sources, 0.3, 0.02, True)
    assert "fell off the bus" in sources[0].ended
    assert (lost.readings, sources[1].ended) == (2, "")
    assert held.readings > 4
    found = lost.found(f"ended early: {sources[0].ended}")
    assert found is not None
    assert "fell off the bus" in found.measurements[0].evidence.flags[0]
