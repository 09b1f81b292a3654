"""Hosts on one machine: a network namespace for each rank, joined by a bridge, with links of a given rate.

Every way from one host to another has a rate of its own (token buckets of the kernel, `tc` htb), so that a link
can be made truly slower while ranks run. Needs root and iproute2 (`ip`, `tc`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import ranks
import torch.distributed as dist
from place import context

from harness.context import Context

BURST = "16k"  # B that may pass at once: more would let a short message through at the bridge's own speed


@dataclass(frozen=True)
class Hosts:
    """names: of the namespaces, in rank order. rate: of every link, B/s each way."""

    names: tuple[str, ...]
    rate: float

    def address(self, rank: int) -> str:
        return f"10.77.0.{rank + 1}"

    def inside(self, rank: int) -> tuple[str, ...]:
        """What starts a program on that host."""
        return ("ip", "netns", "exec", self.names[rank])

    def slow(self, rank: int, other: int, ratio: float) -> None:
        """The way from `rank` to `other` takes `ratio` times as long as a healthy one."""
        self._class("change", rank, other, self.rate / ratio)

    def _class(self, verb: str, rank: int, other: int, rate: float) -> None:
        _do("tc", "-n", self.names[rank], "class", verb, "dev", "eth0", "parent", "1:", "classid", f"1:{other + 10}",
            "htb", "rate", f"{8 * rate:.0f}bit", "burst", BURST, "cburst", BURST)  # fmt: skip

    def _shape(self, rank: int) -> None:
        """A class of its own for the way to each other host."""
        name = self.names[rank]
        _do("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "htb")
        for other in range(len(self.names)):
            if other != rank:
                self._class("add", rank, other, self.rate)
                _do("tc", "-n", name, "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match",
                    "ip", "dst", f"{self.address(other)}/32", "flowid", f"1:{other + 10}")  # fmt: skip


def lacking() -> str:
    """Why no such hosts can be made here; empty where they can."""
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} missing: apt-get install iproute2"
    return "" if os.geteuid() == 0 else "network namespaces need root"


@contextmanager
def hosts(count: int, rate: float) -> Iterator[Hosts]:
    """So many hosts with links of `rate` B/s; gone afterwards, also where this process is told to end."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    stem = f"bench{os.getpid()}"
    made = Hosts(tuple(f"{stem}-{rank}" for rank in range(count)), rate)
    try:
        _do("ip", "link", "add", stem, "type", "bridge")
        _do("ip", "link", "set", stem, "up")
        for rank, name in enumerate(made.names):
            _do("ip", "netns", "add", name)
            _do("ip", "link", "add", f"{stem}v{rank}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _do("ip", "link", "set", f"{stem}v{rank}", "master", stem, "up")
            _do("ip", "-n", name, "address", "add", f"{made.address(rank)}/24", "dev", "eth0")
            _do("ip", "-n", name, "link", "set", "eth0", "up")
            _do("ip", "-n", name, "link", "set", "lo", "up")
        for rank in range(count):
            made._shape(rank)
        yield made
    finally:
        for name in made.names:
            subprocess.run(("ip", "netns", "delete", name), capture_output=True)
        subprocess.run(("ip", "link", "delete", stem), capture_output=True)


def _do(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def over(count: int, rate: float, lacking_words: str, work: Callable[[Context, Hosts], None]) -> int:
    """Run `work` on `count` gloo ranks, each on a host of its own; this script is started anew for each of them. The
    exit code: 3 where hosts cannot be made here, with why."""
    if not ranks.is_rank():
        reason = lacking()
        if reason:
            print(f"{reason}. {lacking_words}", file=sys.stderr)
            return 3
        with hosts(count, rate) as made:
            place = {
                "MASTER_ADDR": made.address(0), "GLOO_SOCKET_IFNAME": "eth0", "BENCH_HOSTS": json.dumps(asdict(made)),
            }  # fmt: skip
            return ranks.start(count, made.inside, **place)
    known = json.loads(os.environ["BENCH_HOSTS"])
    work(replace(context(threads=1), per_node=1), Hosts(tuple(known["names"]), known["rate"]))
    dist.destroy_process_group()
    return 0
