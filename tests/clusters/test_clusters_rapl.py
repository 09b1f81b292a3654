"""Energy of the processor packages, from counters that wrap, and only where they can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters.accelerators.host_probe import HostProbe

ZONES = "sys/class/powercap"


def zone(root: Path, name: str, energy: int, most: int = 1_000_000) -> Path:
    folder = root / ZONES / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    file = folder / "energy_uj"
    file.write_text(f"{energy}\n")
    return file


def test_energy_of_all_packages_is_counted_over_a_wrap(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 900_000), zone(tmp_path, "intel-rapl:1", 100)
    zone(tmp_path, "intel-rapl:0:0", 5)  # cores of a package are in its own count already
    probe = HostProbe(tmp_path)
    first.write_text("950000\n")
    assert probe.read()["energy"] == pytest.approx(0.05)
    first.write_text("20000\n")  # 70,000 µJ later
    second.write_text("30100\n")
    assert probe.read()["energy"] == pytest.approx(0.05 + 0.07 + 0.03)
    probe.close()


def test_where_there_is_no_counter_there_is_no_energy(tmp_path: Path) -> None:
    probe = HostProbe(tmp_path)
    assert "energy" not in probe.read()
    probe.close()
