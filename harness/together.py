"""One world of fresh processes over all hosts of a launch: each of its ranks starts one, and all wait together.

A training job needs this: its libraries leave their state behind in a process, and it has more to fail of than a
timed operation. Ranks look at each other's process a few times a second; where one has failed, the others end theirs
instead of waiting in a collective that never returns.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import children
from harness.children import Ended, Part, Work, World
from harness.errors import cause
from harness.records import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.ranks import Ranks

LOOK = 0.1  # s between two looks of all ranks at each other
EVERY = 10.0  # s between two words of progress


def run(
    ranks: Ranks, entry: str, spec: Struct, folder: Path, limit: float, threads: int, say: Callable[[str], None],
    what: str, world: int,
) -> tuple[Ended | None, str]:  # fmt: skip
    """(how this rank's process ended, why the world failed or ''). folder: this rank's own, new. limit: s, then it is
    ended. threads: of each process. world: ranks that take part, the first of the launch; others wait."""
    address, port = _meeting(ranks)
    if ranks.rank >= world:
        late = _watched(ranks, None, limit, say, what)
        return None, cause(ranks.words("")) or late
    beside = min(int(os.environ.get("LOCAL_WORLD_SIZE", ranks.world)), world)
    part = Part(ranks.rank, world, ranks.local, beside, address, port)
    with World(Work(entry, spec, 1, threads, part=part), folder) as started:
        late = _watched(ranks, started, limit, say, what)
        started.end()
        ended = started.wait(0)[0]
    return ended, cause(ranks.words("" if ended.ok else ended.reason)) or late


def _meeting(ranks: Ranks) -> tuple[str, int]:
    """Where the world meets: on rank 0's host, by the name that the launch met by, at a port that is free there."""
    own = os.environ.get("MASTER_ADDR", "127.0.0.1")
    address, _, port = ranks.words(f"{own} {children.free_port()}")[0].partition(" ")
    return address, int(port)


def _watched(ranks: Ranks, world: World | None, limit: float, say: Callable[[str], None], what: str) -> str:
    """Wait until every rank's process has ended, one of them in failure, or the time is over: then why."""
    begin = told = time.monotonic()
    while True:
        running, failed = world is not None and world.running, world is not None and world.failed
        any_running, any_failed, elapsed = ranks.maximum([running, failed, time.monotonic() - begin])
        if not any_running or any_failed:
            return ""
        if elapsed > limit:
            return f"was ended at its time limit of {limit:.0f} s"
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            say(f"{what} ({told - begin:.0f} s)")
        time.sleep(LOOK)
