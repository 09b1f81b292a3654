"""The AMD path against a stand-in for the amdsmi package, and what ROCm devices can and cannot do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clusters.accelerators import detect
from clusters.accelerators.rocm import Rocm
from clusters.accelerators.torch_device import float8_dtype
from harness.accelerator import Operation
from harness.telemetry import Throttle

PACKAGE = Path(__file__).parent.parent / "fixtures/fake_amdsmi.py"

MI300X: dict[str, Any] = {
    "asic": {
        "market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942", "num_compute_units": 304,
    },
    "driver": {"driver_name": "amdgpu", "driver_version": "6.12.12"},
    "memory": 205822885888,
    "partition": "SPX",
    "clock_gfx": {"clk": 2104, "max_clk": 2100},
    "clock_mem": {"clk": 1300, "max_clk": 1300},
    "power": {"current_socket_power": 741, "average_socket_power": "N/A"},
    "energy": {"energy_accumulator": 2_000_000_000, "counter_resolution": 15.3},
    "temperature": 71,
    "activity": {"gfx_activity": 98},
    "ecc": {"uncorrectable_count": 0},
    "metrics": {
        "prochot_residency_acc": 0, "ppt_residency_acc": 500, "socket_thm_residency_acc": 0,
        "vr_thm_residency_acc": 0, "hbm_thm_residency_acc": 0,
    },
}  # fmt: skip
FOUND = """
import msgspec
from clusters.accelerators import create
print(json.dumps([msgspec.to_builtins(device) for device in create('rocm').found()]))
"""
FAILS = """
from clusters.accelerators import create
from harness.telemetry import ProbeLost
try:
    create('rocm').probe(0).read()
except ProbeLost as error:
    print(json.dumps(str(error)))
"""
READ = "from clusters.accelerators import create\nprint(json.dumps(dict(create('rocm').probe({rank}).read())))"


class FakeAmdSmi:
    """Runs Python statements in a process that imports the stand-in as `amdsmi`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "script.json"
        shutil.copy(PACKAGE, folder / "amdsmi.py")
        self.write(*({"bdf": f"0000:{index:02x}:00.0"} for index in range(8)))

    def write(self, *devices: dict[str, Any], common: dict[str, Any] = MI300X, init: int = 0) -> None:
        self.file.write_text(json.dumps({"common": common, "devices": devices, "init": init}))

    def run(self, statements: str, **environment: str) -> Any:
        hidden = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
        kept = {key: value for key, value in os.environ.items() if key not in hidden}
        environment = {"PYTHONPATH": str(self.folder), "FAKE_AMDSMI": str(self.file), **environment}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import json\n{statements}"],
            env=kept | environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def amd(tmp_path: Path) -> FakeAmdSmi:
    return FakeAmdSmi(tmp_path)


def test_found_describes_every_device(amd: FakeAmdSmi) -> None:
    devices = amd.run(FOUND + "import sys; assert 'torch' not in sys.modules")
    assert len(devices) == 8
    assert devices[3] == {
        "name": "AMD Instinct MI300X",
        "vendor": "amd",
        "index": 3,
        "memory": 205822885888,
        "details": {
            "bus": "0000:03:00.0", "architecture": "gfx942", "compute units": "304", "partition": "SPX",
            "maximum clock": "2100 MHz",
        },
    }  # fmt: skip


def test_a_half_of_an_mi250x_is_a_device(amd: FakeAmdSmi) -> None:
    asic = {"market_name": "AMD Instinct MI250X", "target_graphics_version": "gfx90a", "num_compute_units": "N/A"}
    amd.write({}, {}, common={"asic": asic, "memory": 68702699520})
    devices = amd.run(FOUND)
    assert [device["memory"] for device in devices] == [68702699520] * 2
    assert devices[0]["details"] == {"architecture": "gfx90a", "granularity": "GCD (half a module)"}


@pytest.mark.parametrize(
    ("variables", "buses"),
    [
        ({"HIP_VISIBLE_DEVICES": "3,1"}, ["03", "01"]),
        ({"CUDA_VISIBLE_DEVICES": "2"}, ["02"]),
        ({"ROCR_VISIBLE_DEVICES": "4,5"}, ["04", "05"]),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "2,0"}, ["06", "04"]),
    ],
)
def test_found_is_what_the_variables_leave_visible(
    amd: FakeAmdSmi, variables: dict[str, str], buses: list[str]
) -> None:
    devices = amd.run(FOUND, **variables)
    assert [device["details"]["bus"] for device in devices] == [f"0000:{bus}:00.0" for bus in buses]


def test_devices_are_counted_as_hip_counts_them(amd: FakeAmdSmi) -> None:
    amd.write(
        {"bdf": "second", "enumeration": {"hip_id": 1, "hip_uuid": "GPU-b"}},
        {"bdf": "first", "enumeration": {"hip_id": 0, "hip_uuid": "GPU-a"}},
    )
    assert [device["details"]["bus"] for device in amd.run(FOUND)] == ["first", "second"]
    named = amd.run(FOUND, HIP_VISIBLE_DEVICES="GPU-b")
    assert [device["details"]["bus"] for device in named] == ["second"]


def test_the_probe_reads_base_units(amd: FakeAmdSmi) -> None:
    assert amd.run(READ.format(rank=0)) == {
        "clock": 2.104e9,
        "memory_clock": 1.3e9,
        "power": 741.0,
        "energy": pytest.approx(30600.0),
        "temperature": 71.0,
        "utilisation": pytest.approx(0.98),
        "ecc": 0.0,
    }


def test_what_is_not_known_is_absent(amd: FakeAmdSmi) -> None:
    amd.write({"power": {"current_socket_power": "N/A", "average_socket_power": "N/A"}, "energy": 2, "temperature": 50})
    assert amd.run(READ.format(rank=0)).keys() == {
        "clock", "memory_clock", "temperature", "utilisation", "ecc"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("grown", "throttle", "capped"),
    [
        ({}, Throttle(0), 0.0),
        ({"ppt_residency_acc": 600}, Throttle(0), 1.0),
        ({"hbm_thm_residency_acc": 9, "prochot_residency_acc": 1}, Throttle.THERMAL | Throttle.HARDWARE, 0.0),
    ],
)
def test_throttling_is_what_grew_since_the_reading_before(
    amd: FakeAmdSmi, grown: dict[str, int], throttle: Throttle, capped: float
) -> None:
    later = {"common": {**MI300X, "metrics": {**MI300X["metrics"], **grown}}, "devices": [{}]}
    first, second = amd.run(f"""
import pathlib
from clusters.accelerators import create
probe = create('rocm').probe(0)
first = dict(probe.read())
pathlib.Path({str(amd.file)!r}).write_text({json.dumps(later)!r})
print(json.dumps([first, dict(probe.read())]))
""")
    assert "throttle" not in first
    assert (Throttle(int(second["throttle"])), second["power_cap"]) == (throttle, capped)


def test_versions_name_the_driver(amd: FakeAmdSmi) -> None:
    code = "from clusters.accelerators import create\nprint(json.dumps(create('rocm').versions()))"
    assert amd.run(code)["driver"] == "amdgpu 6.12.12"
    amd.write(init=34)
    assert "does not start" in amd.run(code)["driver"]


def test_a_lost_driver_ends_the_probe(amd: FakeAmdSmi) -> None:
    amd.write({"clock_gfx": 34})
    assert amd.run(FAILS) == "AMD SMI: Error code: 34 | scripted"
    amd.write()
    assert "no device 0" in amd.run(FAILS)
    amd.write({}, common={})
    assert "answers nothing" in amd.run(FAILS)


def test_a_package_without_its_library_is_explained_and_prints_nothing(amd: FakeAmdSmi) -> None:
    (amd.folder / "amdsmi.py").write_text("print('libamd_smi.so: cannot open')\nraise KeyError('libamd_smi.so')\n")
    assert amd.run(FAILS) == "amdsmi does not load the driver's library: libamd_smi.so: cannot open"
    assert amd.run(FOUND) == []  # torch, built without ROCm here, sees none either


def test_a_missing_package_gives_the_install_line(amd: FakeAmdSmi) -> None:
    assert "bench[amd]" in amd.run("import sys; sys.modules['amdsmi'] = None" + FAILS)


# Detection


@pytest.mark.parametrize(
    ("units", "driver", "expected"),
    [((0, 0, 1216, 1216), True, "rocm"), ((0, 0), True, "cpu"), ((1216,), False, "cpu")],
)
def test_the_compute_drivers_topology_tells(
    tmp_path: Path, units: tuple[int, ...], driver: bool, expected: str
) -> None:
    (tmp_path / "dev").mkdir()
    if driver:
        (tmp_path / "dev/kfd").touch()
    for node, count in enumerate(units):
        folder = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{node}"
        folder.mkdir(parents=True)
        (folder / "properties").write_text(f"cpu_cores_count {0 if count else 96}\nsimd_count {count}\n")
    assert detect(tmp_path, nvml="libthat-is-not-there.so.1") == expected


def test_a_node_that_may_not_be_read_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties").mkdir(parents=True)  # reading it fails
    assert detect(tmp_path, nvml="libthat-is-not-there.so.1") == "cpu"


# What a device can do


@pytest.fixture
def properties(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    import torch

    held = SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-", L2_cache_size=4 * 2**20)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: held)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 26, 6))
    monkeypatch.setattr(torch.version, "hip", "7.0.2")
    monkeypatch.setattr(torch, "__version__", "2.9.0+rocm7.0")
    monkeypatch.delenv("HIPBLASLT_ALLOW_TF32", raising=False)
    return held


@pytest.mark.parametrize(
    ("architecture", "size"),
    [("gfx90a:sramecc+", 8 * 2**20), ("gfx942:sramecc+:xnack-", 256 * 2**20), ("gfx950", 256 * 2**20)],
)
def test_the_last_level_is_the_infinity_cache_where_there_is_one(
    properties: SimpleNamespace, architecture: str, size: int
) -> None:
    properties.gcnArchName, properties.L2_cache_size = architecture, 8 * 2**20
    assert Rocm().cache() == size


def test_the_8_bit_float_depends_on_the_device(properties: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert float8_dtype() == "float8_e4m3fnuz"
    properties.gcnArchName = "gfx950:sramecc+"
    assert float8_dtype() == "float8_e4m3fn"
    monkeypatch.setattr(torch.version, "hip", None)
    assert float8_dtype() == "float8_e4m3fn"
    assert hasattr(torch, "float8_e4m3fnuz")


def _refused(*operations: Operation) -> list[bool]:
    return [Rocm().refuses(operation) is not None for operation in operations]


def test_gemm_types_of_each_generation(properties: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    gemms = [Operation("gemm", "mm", dtype) for dtype in ("float32", "bfloat16", "float8", "tf32")]
    assert _refused(*gemms) == [False, False, False, True]
    assert "HIPBLASLT_ALLOW_TF32" in (Rocm().refuses(gemms[3]) or "")
    monkeypatch.setenv("HIPBLASLT_ALLOW_TF32", "1")
    assert _refused(*gemms) == [False, False, False, False]
    properties.gcnArchName = "gfx90a"
    assert _refused(*gemms) == [False, False, True, True]
    properties.gcnArchName = "gfx950"
    assert _refused(*gemms) == [False, False, False, True]


def test_what_rccl_takes(properties: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    names = [("all_reduce", "bfloat16"), ("all_reduce", "tf32"), ("all_gather", "float8"), ("all_reduce", "float8")]
    collectives = [Operation("collective", name, dtype) for name, dtype in names]
    assert _refused(*collectives) == [False, True, False, True]
    properties.gcnArchName = "gfx950"
    assert _refused(*collectives) == [False, True, False, False]
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 22, 3))
    assert _refused(*collectives) == [False, True, False, True]
    properties.gcnArchName = "gfx90a"
    assert _refused(*collectives) == [False, True, True, True]
