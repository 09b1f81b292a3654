"""The memory nodes of a host, as trees of files show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusters.accelerators.host import Host

NODE = "sys/devices/system/node"


def host(root: Path, files: dict[str, str], allowed: list[int]) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    made = Host(root)
    made.allowed = allowed
    return made


@pytest.mark.parametrize(
    ("lists", "allowed", "expected"),
    [
        ({0: "0-3", 1: "4-7"}, list(range(8)), {0: [0, 1, 2, 3], 1: [4, 5, 6, 7]}),
        ({0: "0-1,8-9", 10: "2-3"}, [1, 2, 3, 9], {0: [1, 9], 10: [2, 3]}),
        ({0: "0-3", 1: "4-7"}, [5], {1: [5]}),
        ({0: "0-1", 1: ""}, [0, 1], {0: [0, 1]}),  # memory without processors
        ({}, [0, 1], {}),
    ],
)
def test_nodes_hold_the_allowed_cpus(tmp_path, lists, allowed, expected):
    files = {f"{NODE}/node{node}/cpulist": text for node, text in lists.items()}
    found = host(tmp_path, files, allowed).numa_nodes()
    assert found == expected
    assert list(found) == sorted(found)


def test_first_hardware_threads_come_first(tmp_path):
    files = {f"{NODE}/node0/cpulist": "0-3"}
    for cpu in range(4):
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
    assert host(tmp_path, files, [0, 1, 2, 3]).numa_nodes() == {0: [0, 2, 1, 3]}


def test_this_hosts_nodes_hold_its_cpus_once():
    held = [cpu for cpus in Host().numa_nodes().values() for cpu in cpus]
    assert sorted(held) in ([], sorted(os.sched_getaffinity(0)))
