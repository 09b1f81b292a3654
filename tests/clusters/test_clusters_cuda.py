"""The NVIDIA path against a compiled stand-in for NVML, and the torch.cuda parts against stand-ins of theirs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters_nvml import H100, FakeNvml
from hypothesis import given
from hypothesis import strategies as st

from clusters.accelerators import create, detect, nvml
from clusters.accelerators.cuda import Cuda
from clusters.accelerators.torch_device import EventStopwatch, visible
from harness.accelerator import Operation
from harness.errors import CannotRun, UsageError
from harness.telemetry import Throttle

FOUND = """
import msgspec
from clusters.accelerators import create
print(json.dumps([msgspec.to_builtins(device) for device in create('cuda').found()]))
"""
READ = """
from clusters.accelerators import create
probe = create('cuda').probe({rank})
print(json.dumps(dict(probe.read())))
probe.close()
"""
FAILS = """
from clusters.accelerators import create
from harness.telemetry import ProbeLost
try:
    create('cuda').probe({rank}).read()
except ProbeLost as error:
    print(json.dumps(str(error)))
"""


# What is found


def test_found_describes_every_device(fake_nvml: FakeNvml) -> None:
    devices = fake_nvml.run(FOUND)
    assert [device.get("index", 0) for device in devices] == list(range(8))
    first = devices[0]
    assert first["name"] == "NVIDIA H100 80GB HBM3"
    assert first["vendor"] == "nvidia"
    assert first["memory"] == 85520809984
    assert first["details"] == {
        "uuid": "GPU-00000000",
        "bus": "00000000:10:00.0",
        "compute capability": "9.0",
        "maximum clock": "1980 MHz",
        "power limit": "700 W",
    }


@pytest.mark.parametrize(
    ("variable", "uuids"),
    [
        ("3,1", ["GPU-00000003", "GPU-00000001"]),
        ("GPU-00000005,GPU-00000002", ["GPU-00000005", "GPU-00000002"]),
        ("0,9,1", ["GPU-00000000"]),
        ("2,2", []),
        ("", []),
    ],
)
def test_found_is_what_the_variable_leaves_visible(fake_nvml: FakeNvml, variable: str, uuids: list[str]) -> None:
    devices = fake_nvml.run(FOUND, CUDA_VISIBLE_DEVICES=variable)
    assert [device["details"]["uuid"] for device in devices] == uuids


def test_a_partition_is_described_as_one(fake_nvml: FakeNvml) -> None:
    name = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    fake_nvml.write({**H100, "7.uuid": "MIG-0815", "7.mig": 1, "7.name": name, "7.memory": 10**10})
    devices = fake_nvml.run(FOUND, CUDA_VISIBLE_DEVICES="MIG-0815")
    assert [device["name"] for device in devices] == [name]
    assert devices[0]["details"]["mig"] == "instance of a partitioned GPU"
    assert devices[0]["memory"] == 10**10


def test_what_a_device_does_not_tell_is_left_out(fake_nvml: FakeNvml) -> None:
    fake_nvml.write({"devices": 1, "name": "NVIDIA T1", "driver": "570.1"})
    (device,) = fake_nvml.run(FOUND)
    assert "memory" not in device
    assert device["details"].keys() == {"uuid", "bus"}


def test_versions_come_from_the_library(fake_nvml: FakeNvml) -> None:
    code = "from clusters.accelerators import create\nprint(json.dumps(create('cuda').versions()))"
    versions = fake_nvml.run(code)
    assert versions["driver"] == "570.86.15"
    assert versions["cuda driver"] == "12.8"


def test_nothing_of_it_imports_torch(fake_nvml: FakeNvml) -> None:
    code = FOUND + "import sys; assert 'torch' not in sys.modules"
    assert len(fake_nvml.run(code)) == 8


# What the probe reads


def test_the_probe_reads_base_units(fake_nvml: FakeNvml) -> None:
    assert fake_nvml.run(READ.format(rank=0)) == {
        "clock": 1.755e9,
        "memory_clock": 2.619e9,
        "power": pytest.approx(692.5),
        "energy": pytest.approx(123456.789),
        "temperature": 61.0,
        "ecc": 0.0,
        "utilisation": 1.0,
        "throttle": 0.0,
        "power_cap": 1.0,
        "xid_errors": 0.0,
        "memory_used": 5520809984.0,
        "memory_free": 8e10,
        "power_limit": 700.0,
        "ecc_corrected": 3.0,
        "memory_temperature": 74.0,
        "nvlink_sent": 2.0 * 2**20,
        "nvlink_received": 1.0 * 2**20,
        "nvlink_crc_errors": 0.0,
        "nvlink_replays": 2.0,
        "nvlink_recoveries": 0.0,
        "pcie_replays": 1.0,
        "pcie_sent": 5000.0,
        "pcie_received": 7000.0,
    }


def test_the_probe_reads_the_device_of_its_rank(fake_nvml: FakeNvml) -> None:
    fake_nvml.write({**H100, "6.temperature": 88})
    values = fake_nvml.run(READ.format(rank=1), CUDA_VISIBLE_DEVICES="0,6")
    assert values["temperature"] == 88.0


def test_only_harmful_reasons_count_as_throttling(fake_nvml: FakeNvml) -> None:
    fake_nvml.write({**H100, "reasons": 0x1 | 0x2 | 0x10 | 0x40 | 0x80})
    values = fake_nvml.run(READ.format(rank=0))
    assert Throttle(int(values["throttle"])) == Throttle.THERMAL | Throttle.POWER_BRAKE
    assert values["power_cap"] == 0.0


@given(st.integers(min_value=0, max_value=0x1FF))
def test_throttle_is_zero_exactly_without_a_harmful_bit(reasons: int) -> None:
    assert bool(nvml.throttle(reasons)) == bool(reasons & (0x08 | 0x20 | 0x40 | 0x80))


def test_what_is_not_supported_is_absent(fake_nvml: FakeNvml) -> None:
    fake_nvml.write({**H100, "error.power": 3, "error.ecc": 3, "error.reasons": 3, "error.energy": 999})
    values = fake_nvml.run(READ.format(rank=0))
    assert {"clock", "memory_clock", "temperature", "utilisation"} <= values.keys()
    assert not {"power", "ecc", "throttle", "power_cap", "energy"} & values.keys()


def test_an_old_driver_is_asked_by_the_older_name(build_nvml: Callable[..., Path], tmp_path: Path) -> None:
    fake = FakeNvml(build_nvml("-DOLD_DRIVER"), tmp_path)
    fake.write({**H100, "reasons": 0x20})
    assert fake.run(READ.format(rank=0))["throttle"] == float(Throttle.THERMAL)


@pytest.mark.parametrize(
    ("script", "rank", "words"),
    [
        ({**H100, "error.clock": 15}, 0, "GPU is lost"),
        ({**H100, "error.init": 9}, 0, "does not start"),
        ({**H100, "devices": 2}, 5, "no device 5"),
        ({"devices": 1, "name": "mute"}, 0, "answers nothing"),
    ],
)
def test_a_device_that_cannot_be_read_ends_the_probe(
    fake_nvml: FakeNvml, script: dict[str, object], rank: int, words: str
) -> None:
    fake_nvml.write(script)
    assert words in fake_nvml.run(FAILS.format(rank=rank))


def test_a_device_lost_in_the_middle_ends_the_sampler_not_the_run(fake_nvml: FakeNvml) -> None:
    code = f"""
import time
from clusters.accelerators import create
from harness.telemetry import Sampler
sampler = Sampler(create('cuda').probe(0), period=0.01)
while not sampler.summary():
    time.sleep(0.005)
with open({str(fake_nvml.file)!r}, 'a') as script:
    script.write('error.clock 15\\n')
end = time.perf_counter() + 10
while sampler.ended is None and time.perf_counter() < end:
    time.sleep(0.005)
seen = sampler.summary()['power']
sampler.close()
print(json.dumps([sampler.ended, seen]))
"""
    ended, power = fake_nvml.run(code)
    assert "GPU is lost" in ended
    assert power == pytest.approx([692.5] * 3)


def test_without_the_package_the_install_line_is_given(fake_nvml: FakeNvml) -> None:
    code = "import sys; sys.modules['pynvml'] = None" + FAILS.format(rank=0)
    assert "bench[nvidia]" in fake_nvml.run(code)


# Detection


def test_nvml_with_devices_is_cuda_and_without_any_is_cpu(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from clusters.accelerators import detect
print(json.dumps(detect(Path({str(tmp_path)!r}))))
"""
    assert fake_nvml.run(code) == "cuda"
    fake_nvml.write({"devices": 0})
    assert fake_nvml.run(code) == "cpu"
    fake_nvml.write({"devices": 8, "error.init": 9})
    assert fake_nvml.run(code) == "cpu"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [(("nvidiactl", "nvidia0"), "cuda"), (("nvidiactl",), "cpu"), (("nvidiactl", "nvidia-uvm"), "cpu"), ((), "cpu")],
)
def test_device_nodes_need_no_library(tmp_path: Path, nodes: tuple[str, ...], expected: str) -> None:
    (tmp_path / "dev").mkdir()
    for name in nodes:
        (tmp_path / "dev" / name).touch()
    assert detect(tmp_path, nvml="libthat-is-not-there.so.1") == expected


def test_an_unknown_accelerator_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown accelerator 'cudaa'.*cuda"):
        create("cudaa")


# Visible devices


@given(st.lists(st.integers(min_value=0, max_value=15), max_size=10), st.integers(min_value=1, max_value=8))
def test_visible_gives_each_device_once_and_only_what_is_there(wanted: list[int], count: int) -> None:
    shown = visible(",".join(map(str, wanted)), range(count))
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(range(count))
    valid = wanted[: next((at for at, n in enumerate(wanted) if n >= count), len(wanted))]
    assert shown == (valid if len(set(valid)) == len(valid) else [])


# What goes through torch.cuda


class FakeDevice:
    """A device with a queue: work takes effect when it is waited for, and events are stamped in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0
        device = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                assert enable_timing
                self.at: float | None = None

            def record(self) -> None:
                self.at = device.now

            def elapsed_time(self, end: Event) -> float:
                assert device.waits
                assert self.at is not None
                assert end.at is not None
                return (end.at - self.at) * 1e3  # ms, as torch gives it

        self.Event = Event

    def synchronize(self) -> None:
        self.waits += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    import torch

    fake = FakeDevice()
    monkeypatch.setattr(torch.cuda, "Event", fake.Event)
    monkeypatch.setattr(torch.cuda, "synchronize", fake.synchronize)
    return fake


def test_the_stopwatch_gives_the_devices_own_times(device: FakeDevice) -> None:
    watch = EventStopwatch(4)
    for index, duration in enumerate([0.5, 0.25, 2.0]):
        watch.start(index)
        device.now += duration
        watch.stop(index)
        device.now += 100.0
    assert device.waits == 0
    assert watch.seconds() == pytest.approx([0.5, 0.25, 2.0])  # the fourth region was never used


def test_no_event_is_made_inside_a_timed_region(device: FakeDevice) -> None:
    watch = EventStopwatch(3)
    assert all(event.at is not None for event in (*watch._begin, *watch._end))


def test_binding_without_a_device_says_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    with pytest.raises(CannotRun, match=r"needs device 2, and torch .* sees 2 CUDA device"):
        Cuda().bind(2, 1)


def test_binding_takes_the_device_and_orders_devices_as_nvml_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import torch

    taken: list[object] = []
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    assert Cuda().bind(3, 12) == torch.device("cuda", 3)
    assert taken == [12, 3]
    assert os.environ.pop("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def test_memory_and_cache_are_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    properties = SimpleNamespace(L2_cache_size=50 * 2**20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (7 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert Cuda().memory_free() == 7 * 2**30
    assert Cuda().cache() == 50 * 2**20
    properties.L2_cache_size = 0
    assert Cuda().cache() is None


@pytest.mark.parametrize(
    ("capability", "refused"),
    [
        ((7, 0), {"bfloat16", "tf32", "float8_e4m3fn"}),
        ((8, 0), {"float8_e4m3fn"}),
        ((8, 9), set()),
        ((9, 0), set()),
        ((10, 0), set()),
    ],
)
def test_gemm_types_begin_with_a_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], refused: set[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    types = ["float32", "tf32", "float16", "bfloat16", "float8_e4m3fn"]
    reasons = {dtype: Cuda().refuses(Operation("gemm", "mm", dtype)) for dtype in types}
    assert {dtype for dtype, reason in reasons.items() if reason} == refused
    assert all(f"{capability[0]}.{capability[1]}" in reason for reason in reasons.values() if reason)


@pytest.mark.parametrize(
    ("name", "dtype", "capability", "nccl", "ok"),
    [
        ("all_reduce", "bfloat16", (8, 0), (2, 18, 0), True),
        ("all_gather", "float8_e4m3fn", (8, 0), (2, 27, 3), False),
        ("all_gather", "float8_e4m3fn", (9, 0), (2, 18, 0), True),
        ("all_reduce", "float8_e4m3fn", (9, 0), (2, 18, 0), False),
        ("reduce_scatter", "float8_e5m2", (9, 0), (2, 24, 0), True),
        ("all_reduce", "tf32", (9, 0), (2, 27, 3), False),
    ],
)
def test_what_nccl_takes(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: str, capability: tuple[int, int], nccl: tuple[int, ...], ok: bool
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: nccl)
    assert (Cuda().refuses(Operation("collective", name, dtype)) is None) == ok


def test_vendor_packages_are_not_imported_with_the_modules() -> None:
    import subprocess

    code = """
import json, sys
import clusters.accelerators.cuda, clusters.accelerators.rocm, clusters.accelerators.cpu
print(json.dumps([name for name in ('torch', 'pynvml', 'amdsmi', 'numpy') if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []
