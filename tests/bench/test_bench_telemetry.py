"""`bench collect --telemetry`: this machine, a made-up adapter, a real HTTP server that speaks as exporters do."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import collect_telemetry, main
from clusters import nic_counters
from collectors.telemetry import prometheus
from collectors.telemetry.gathered import Gathered
from harness import store
from harness.errors import UsageError
from harness.records import Origin
from harness.telemetry import ProbeLost

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


Exporter = Callable[..., str]


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """Serves texts, one after the other, the last for ever; hold: seconds that an answer takes."""
    servers: list[ThreadingHTTPServer] = []

    def serve(*texts: str, hold: float = 0.0) -> str:
        left = list(texts)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = left.pop(0) if len(left) > 1 else left[0]
                time.sleep(hold if len(left) < len(texts) - 1 else 0.0)
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
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


def test_an_exporter_is_a_source_in_base_units(
    exporter: Exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    later = DCGM.replace(" 5000", " 9000")
    found = told(capfd, "--seconds", "1200ms", "--from", exporter(DCGM, DCGM, later), "--out", str(tmp_path))
    by_device = {one["params"]["device"]: one for one in found["records"]}
    first = by_device["0"]["quantities"]
    assert by_device["0"]["params"]["host"] == "node-3"
    values = {name: quantity["value"] for name, quantity in first.items()}
    assert values == {"clock": 1.98e9, "power": 631.95, "energy": 4.0}  # grew by 4000 mJ
    assert first["clock"]["origin"] == "parsed"
    assert first["clock"]["unit"] == "Hz"
    assert first["clock"]["n"] >= 2
    assert set(by_device["1"]["quantities"]) == {"clock"}
    (run,) = [store.read(path.parent) for path in tmp_path.glob("*/run.json")]
    notes = [note for record in run.records for note in record.notes]
    assert "1 samples of its first answer are of families that are not known here" in notes


def test_ports_and_hosts_of_an_exporter_are_their_own_records(
    exporter: Exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = 'node_load1 {load}\nnode_infiniband_port_data_transmitted_bytes_total{{device="m",port="1"}} {sent}\n'
    texts = [node.format(load=load, sent=sent) for load, sent in ((1, 100), (1, 100), (3, 5100))]
    found = told(capfd, "--seconds", "1200ms", "--from", exporter(*texts), "--out", str(tmp_path))
    by_benchmark = {one["benchmark"]: one for one in found["records"]}
    assert by_benchmark["telemetry.nic"]["params"]["port"] == "m/1"
    sent = by_benchmark["telemetry.nic"]["quantities"]["sent"]
    assert (sent["unit"], sent["value"] > 0) == ("B/s", True)
    assert by_benchmark["telemetry.host"]["quantities"]["load"]["value"] == 2.0


def test_an_exporter_that_hangs_ends_with_its_reason_and_the_others_are_kept(
    exporter: Exporter, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_telemetry, "PATIENCE", 0.2)
    slow, good = exporter(DCGM, DCGM, DCGM, hold=30.0), exporter("node_load1 2\n")
    found = told(capfd, "--seconds", "400ms", "--from", slow, "--from", good, "--out", str(tmp_path))
    assert [one["benchmark"] for one in found["records"]] == ["telemetry.host"]
    assert "has not returned" in found["problems"][0]


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


def test_a_source_that_goes_away_ends_and_the_others_go_on() -> None:
    """As where a driver is unloaded: what was read before is kept, and the reason is told."""
    lost, held = Gathered("telemetry.device", {}, Origin.MEASURED), Gathered("telemetry.host", {}, Origin.MEASURED)

    def fail() -> list[tuple[Gathered, dict[str, float]]]:
        if lost.readings == 2:
            raise ProbeLost("the device fell off the bus")
        return [(lost, {"power": 300.0})]

    sources = [
        collect_telemetry._Source("device", fail), collect_telemetry._Source("host", lambda: [(held, {"load": 1.0})]),
    ]  # fmt: skip
    collect_telemetry._sample(sources, 0.5, 0.02, True)
    assert sources[0].ended == "the device fell off the bus"
    assert (lost.readings, sources[1].ended) == (2, "")
    assert held.readings > 4
    found = lost.found(sources[0].ended)
    assert found is not None
    assert found.notes == ("ended early: the device fell off the bus",)


def test_what_a_probe_lacks_stands_in_the_record_with_its_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    (port / "counters").mkdir(parents=True)
    (port / "counters/port_xmit_data").write_text("250\n")
    (port / "state").write_text("4: ACTIVE\n")
    monkeypatch.setattr(nic_counters, "ports", lambda: iter([port]))
    told(capfd, "--seconds", "400ms", "--out", str(tmp_path / "runs"))
    (run,) = [store.read(path.parent) for path in (tmp_path / "runs").glob("*/run.json")]
    (record,) = [record for record in run.records if record.benchmark == "telemetry.nic"]
    assert record.params == {"port": "mlx5_0/1"}
    assert {one.metric: one.unit.value for one in record.measurements} == {"sent": "B/s"}
    assert set(record.measurements[0].samples) == {0.0}
    assert "state: 4: ACTIVE" in record.notes
    assert any(note.startswith("no received: counters/port_rcv_data: No such file") for note in record.notes)
