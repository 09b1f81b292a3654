"""What sampling costs: `python benchmarks/telemetry_cost.py`. Target: under 1 % of one core at 10 Hz.

A process that sleeps five seconds, with the sampler of every benchmark beside it and without, in turns: its processor
time is the cost. Read are this host and a made-up adapter of eight ports with all counters.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from clusters import nic_counters
from clusters.accelerators.host_probe import HostProbe
from harness.statistics import median_interval
from harness.telemetry import Sampler

SECONDS, TURNS, PORTS = 5.0, 6, 8


class Both:
    """The host, and the sums over all ports, as the sampler beside a benchmark reads them."""

    def __init__(self, root: Path) -> None:
        self._probes = [HostProbe(), nic_counters.NicSums(list(nic_counters.ports(root)))]

    def read(self) -> Mapping[str, float]:
        return {name: value for one in self._probes for name, value in one.read().items()}

    def close(self) -> None:
        for probe in self._probes:
            probe.close()


def adapters(root: Path) -> None:
    for number in range(PORTS):
        port = root / f"sys/class/infiniband/mlx5_{number}/ports/1"
        for file in nic_counters.COUNTERS:
            path = port / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("12345678901\n")


def spent(probe: Both | HostProbe | None) -> float:
    """Share of one core."""
    sampler = Sampler(probe) if probe is not None else None
    begin, used = time.perf_counter(), time.process_time()
    time.sleep(SECONDS)
    share = (time.process_time() - used) / (time.perf_counter() - begin)
    if sampler is not None:
        sampler.close()
    return share


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        adapters(Path(folder))
        for title, make in (("host", HostProbe), (f"host and {PORTS} ports", lambda: Both(Path(folder)))):
            shares = [spent(make()) - spent(None) for _ in range(TURNS)]  # type: ignore[operator]
            known = median_interval(shares)
            print(f"{title:<20} {known.value:.3%} of one core [{known.low:.3%}, {known.high:.3%}]", flush=True)


if __name__ == "__main__":
    main()
