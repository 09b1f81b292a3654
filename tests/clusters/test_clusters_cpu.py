"""The processors of this host for real, and of other hosts as trees of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.accelerators import create
from clusters.accelerators.cpu import GLOO_BY_TYPE, Cpu
from clusters.accelerators.host import Host, parse_cpus
from clusters.accelerators.host_probe import HostProbe
from harness.accelerator import Operation

MIB = 2**20


@pytest.fixture
def affinity() -> Iterator[None]:
    held = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, held)


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write files under a root, as another machine would show them."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def host(root: Path, allowed: list[int] | None = None) -> Host:
    made = Host(root)
    if allowed is not None:
        made.allowed = allowed
    return made


# This host


def test_this_host_is_one_device_with_its_memory() -> None:
    (device,) = create("cpu").found()
    assert device.vendor == "cpu"
    assert device.name
    assert device.memory == psutil.virtual_memory().total
    assert f"{len(os.sched_getaffinity(0))} allowed" in device.details["cores"]


def test_free_memory_is_some_of_what_there_is() -> None:
    assert 0 < create("cpu").memory_free() <= psutil.virtual_memory().total


def test_describing_the_host_imports_no_torch() -> None:
    code = """
import json, sys
from clusters.accelerators import create
cpu = create('cpu')
cpu.found(), cpu.cache(), cpu.memory_free(), cpu.probe(0).read()
print(json.dumps([cpu.versions(), 'torch' in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    versions, imported = json.loads(done.stdout)
    assert not imported
    assert versions["gloo"] == "bundled with torch"
    assert versions["torch"][0].isdigit()


def test_versions_name_the_libraries_of_a_loaded_torch() -> None:
    import torch

    versions = Cpu().versions()
    if torch.backends.mkldnn.is_available():
        assert versions["onednn"].count(".") == 2
    assert versions["torch"] == torch.__version__


def test_the_stopwatch_times_regions_in_order() -> None:
    watch = Cpu().stopwatch(5)
    for index in range(3):
        watch.start(index)
        time.sleep(0.002 * (index + 1))
        watch.stop(index)
    seconds = watch.seconds()
    assert len(seconds) == 3
    assert all(0.002 * (index + 1) <= duration < 1 for index, duration in enumerate(seconds))


def test_an_empty_region_takes_less_than_a_microsecond() -> None:
    watch = Cpu().stopwatch(1000)
    for index in range(1000):
        watch.start(index)
        watch.stop(index)
    assert sorted(watch.seconds())[500] < 1e-6


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="pinning apart needs two CPUs")
def test_ranks_are_pinned_apart_when_the_first_stopwatch_is_made(affinity: None) -> None:
    import torch

    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    slices = []
    try:
        for rank in range(2):
            cpu = Cpu(environ={"LOCAL_WORLD_SIZE": "2"})
            assert cpu.bind(rank, 1) == torch.device("cpu")
            assert torch.get_num_threads() == 1
            assert os.sched_getaffinity(0) == before
            cpu.stopwatch(1)
            slices.append(os.sched_getaffinity(0))
            os.sched_setaffinity(0, before)
    finally:
        torch.set_num_threads(threads)
    assert [len(held) for held in slices] == [1, 1]
    assert slices[0] != slices[1]


@pytest.mark.parametrize(
    ("environ", "threads"),
    [
        ({}, 1),
        ({"LOCAL_WORLD_SIZE": "1"}, 1),
        ({"LOCAL_WORLD_SIZE": "2"}, 4096),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_PROC_BIND": "close"}, 1),
    ],
)
def test_placement_is_left_alone(
    environ: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch, affinity: None
) -> None:
    """One rank, more threads than CPUs, or threads that the user has placed."""
    import torch

    before = os.sched_getaffinity(0)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    cpu = Cpu(environ=environ)
    cpu.bind(0, threads)
    cpu.stopwatch(1)
    assert os.sched_getaffinity(0) == before


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 64))
def test_slices_are_disjoint_and_of_one_size_or_none_at_all(ranks: int, threads: int, cpus: int) -> None:
    machine = host(Path("/nonexistent"), list(range(cpus)))
    cpu = Cpu(machine, {"LOCAL_WORLD_SIZE": str(ranks)})
    slices = [cpu._cores(rank, threads) for rank in range(ranks)]
    if ranks == 1 or ranks * threads > cpus:
        assert slices == [frozenset()] * ranks
    else:
        assert [len(held) for held in slices] == [threads] * ranks
        assert len(frozenset().union(*slices)) == ranks * threads


# Other hosts


def caches(cpus: int, shared: int, size: str = "32768K") -> dict[str, str]:
    """Files of a machine whose last level is shared by groups of `shared` CPUs."""
    files = {}
    for cpu in range(cpus):
        folder, first = f"sys/devices/system/cpu/cpu{cpu}/cache", cpu // shared * shared
        group = f"{first}-{first + shared - 1}" if shared > 1 else str(cpu)
        for index, (level, kind, text, who) in enumerate(
            [("1", "Data", "32K", str(cpu)), ("1", "Instruction", "64K", str(cpu)), ("3", "Unified", size, group)]
        ):
            named = {"level": level, "type": kind, "size": text, "shared_cpu_list": who}
            files |= {f"{folder}/index{index}/{name}": f"{value}\n" for name, value in named.items()}
    return files


def test_last_level_instances_are_summed(tmp_path: Path) -> None:
    machine = host(lay(tmp_path, caches(16, 8)), list(range(16)))
    assert machine.last_level() == 64 * MIB
    assert machine.details()["caches"] == "L1d 16 x 32 KiB, L3 2 x 32 MiB"


def test_only_the_caches_of_allowed_cpus_count(tmp_path: Path) -> None:
    assert host(lay(tmp_path, caches(16, 8)), [0, 1, 2]).last_level() == 32 * MIB


def test_an_unknown_cache_is_none(tmp_path: Path) -> None:
    assert host(tmp_path, [0, 1]).last_level() is None
    machine = host(lay(tmp_path, caches(2, 2, size="")), [0])
    assert Cpu(machine).cache() is None  # the first level is known, and is not the last
    assert machine.details()["caches"] == "L1d 1 x 32 KiB"


def test_cores_come_before_their_second_threads(tmp_path: Path) -> None:
    pairs = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    files = {f"sys/devices/system/cpu/cpu{c}/topology/thread_siblings_list": f"{t}\n" for c, t in pairs.items()}
    assert host(lay(tmp_path, files), [0, 1, 2, 3]).by_core() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("flags", "refused"), [("avx2 avx512f", True), ("avx512f avx512_fp16", False), ("amx_tile amx_fp16", False)]
)
def test_float16_products_need_an_instruction_set(tmp_path: Path, flags: str, refused: bool) -> None:
    machine = host(lay(tmp_path, {"proc/cpuinfo": f"processor : 0\nmodel name : Some CPU\nflags : {flags}\n\n"}))
    assert machine.model == "Some CPU"
    reason = Cpu(machine).refuses(Operation("gemm", "mm", "float16"))
    assert (reason is not None) == refused


def test_an_arm_host_has_a_name_and_flags(tmp_path: Path) -> None:
    machine = host(lay(tmp_path, {"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd fphp asimdhp sve\n\n"}))
    assert machine.model
    assert Cpu(machine).refuses(Operation("gemm", "mm", "float16")) is None
    assert machine.details()["vector units"] == "asimd sve"


def test_a_group_of_version_2_limits_memory_and_cpus(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "0::/job/step\n",
        "sys/fs/cgroup/job/memory.max": f"{900 * MIB}\n",
        "sys/fs/cgroup/job/memory.current": f"{500 * MIB}\n",
        "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {100 * MIB}\n",
        "sys/fs/cgroup/job/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/job/step/memory.max": "max\n",
        "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
    }
    machine = host(lay(tmp_path, groups))
    assert machine.memory_free() == 500 * MIB
    assert machine.details()["memory limit"] == "900 MiB"
    assert machine.details()["cpu quota"] == "1.50 CPUs"


def test_a_group_of_version_1_limits_memory_and_cpus(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{800 * MIB}\n",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{700 * MIB}\n",
        "sys/fs/cgroup/memory/box/memory.stat": f"inactive_file 7\ntotal_inactive_file {50 * MIB}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    machine = host(lay(tmp_path, groups))
    assert machine.memory_free() == 150 * MIB
    assert machine.details()["cpu quota"] == "0.50 CPUs"


def test_inside_a_container_the_mounts_root_counts(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "0::/a/path/of/the/host\n",
        "sys/fs/cgroup/memory.max": f"{64 * MIB}\n",
        "sys/fs/cgroup/memory.current": f"{80 * MIB}\n",
    }
    assert host(lay(tmp_path, groups)).memory_free() == 0


def test_without_groups_the_systems_memory_counts(tmp_path: Path) -> None:
    free = host(tmp_path).memory_free()
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert "memory limit" not in host(tmp_path).details()


@given(st.sets(st.integers(0, 300), min_size=1))
def test_cpu_lists_are_read_as_the_kernel_writes_them(cpus: set[int]) -> None:
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
    assert parse_cpus(text + "\n") == sorted(cpus)


# What it cannot do


def test_products_of_gpu_types_are_refused_with_a_reason() -> None:
    for dtype in ("tf32", "float8", "float8_e4m3fn"):
        assert Cpu().refuses(Operation("gemm", "mm", dtype))
    for dtype in ("float32", "float64", "bfloat16"):
        assert Cpu().refuses(Operation("gemm", "mm", dtype)) is None


def test_streams_are_never_refused() -> None:
    assert Cpu().refuses(Operation("stream", "triad", "float16")) is None


GLOO = """
import os, sys
import torch, torch.distributed as dist
from datetime import timedelta
rank, port = int(sys.argv[1]), sys.argv[2]
store = dist.TCPStore('127.0.0.1', int(port), 2, rank == 0, timeout=timedelta(seconds=30))
dist.init_process_group('gloo', store=store, rank=rank, world_size=2, timeout=timedelta(seconds=30))
import warnings; warnings.simplefilter('ignore', FutureWarning)  # names of the tensor forms change
def run(name, x):
    half, whole = x[:32].clone(), x.clone()
    match name:
        case 'all_reduce': dist.all_reduce(x)
        case 'all_gather': dist.all_gather_into_tensor(whole, half)
        case 'reduce_scatter': dist.reduce_scatter_tensor(half, x)
        case 'broadcast': dist.broadcast(x, 0)
        case 'all_to_all': dist.all_to_all_single(whole, x)
        case 'send_recv': dist.send(x, 1) if rank == 0 else dist.recv(x, 0)
for name in ('all_reduce', 'all_gather', 'reduce_scatter', 'broadcast', 'all_to_all', 'send_recv'):
    for dtype in ('float32', 'bfloat16', 'float16', 'float8_e4m3fn'):
        try:
            run(name, torch.ones(64).to(getattr(torch, dtype)))
            said = 'ok'
        except RuntimeError as error:
            said = str(error).splitlines()[0]
        if rank == 1:
            print(name, dtype, said, sep='\\t')
dist.destroy_process_group()
"""


def test_what_gloo_is_said_to_refuse_is_what_gloo_refuses() -> None:
    """The table in cpu.py, tried: a torch that can do more, or less, fails here."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environ = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", GLOO]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), port], env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=90) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    tried = [line.split("\t") for line in outputs[1][0].splitlines()]
    assert len(tried) == 24
    for name, dtype, said in tried:
        reason = Cpu().refuses(Operation("collective", name, dtype))
        assert (said == "ok") == (reason is None), (name, dtype, said, reason)
    assert {name for name, _, said in tried if said != "ok"} <= set(GLOO_BY_TYPE)


# The probe

STAT = "cpu  {} 0 0 {} 0 0 0 {} 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def test_this_hosts_probe_reads_shares_after_a_while() -> None:
    probe = HostProbe()
    first = probe.read()
    assert "steal" not in first
    assert first["load"] >= 0
    assert 0 < first["memory"] < psutil.virtual_memory().total
    time.sleep(0.12)
    second = probe.read()
    assert 0 <= second["steal"] <= 1
    assert 0 <= second["foreign"] <= 1
    probe.close()


def test_shares_are_of_all_cpu_time_since_the_reading_before(tmp_path: Path) -> None:
    probe = HostProbe(lay(tmp_path, {"proc/stat": STAT.format(1000, 5000, 10)}))
    probe.read()
    time.sleep(0.1)
    lay(tmp_path, {"proc/stat": STAT.format(1050, 5030, 30)})  # 50 busy, 30 idle, 20 stolen
    values = probe.read()
    assert values["steal"] == pytest.approx(0.2)
    assert 0.4 < values["foreign"] <= 0.5  # all but what this process used itself
    probe.close()


def test_readings_close_together_are_judged_over_a_longer_time(tmp_path: Path) -> None:
    """One tick of 10 ms in 20 ms would otherwise read as half of all time."""
    probe = HostProbe(lay(tmp_path, {"proc/stat": STAT.format(0, 0, 0)}))
    probe.read()
    time.sleep(0.1)
    lay(tmp_path, {"proc/stat": STAT.format(0, 99, 0)})
    probe.read()
    lay(tmp_path, {"proc/stat": STAT.format(0, 99, 1)})
    assert probe.read()["steal"] == pytest.approx(0.01)
    probe.close()


def test_own_work_is_not_foreign() -> None:
    probe = HostProbe()
    probe.read()
    spent, end = time.process_time(), time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    spent = time.process_time() - spent
    values = probe.read()
    assert spent > 0.05
    assert values["foreign"] <= max(0.0, 1 - spent / 0.3 / (os.cpu_count() or 1)) + 0.15
    probe.close()


def test_clock_and_temperature_where_the_host_shows_them(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    files = {
        f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq": "3400000\n",
        "sys/class/hwmon/hwmon0/name": "nvme\n",
        "sys/class/hwmon/hwmon0/temp1_input": "30000\n",
        "sys/class/hwmon/hwmon1/name": "k10temp\n",
        "sys/class/hwmon/hwmon1/temp1_input": "64500\n",
        "proc/meminfo": "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  400 kB\n",
        "proc/loadavg": "1.25 1.00 0.50 2/300 999\n",
    }
    probe = HostProbe(lay(tmp_path, files))
    assert probe.read() == {"clock": 3.4e9, "temperature": 64.5, "memory": 600 * 1024.0, "load": 1.25}
    probe.close()


def test_a_host_without_proc_reads_nothing(tmp_path: Path) -> None:
    assert HostProbe(tmp_path).read() == {}
