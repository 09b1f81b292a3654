"""The bare columns `step loss [grad_norm]` that torchtitan keeps as reference (tests/assets/losses/*.txt).

Two or three numbers a line are nobody's mark, so that this kind speaks up only for a file that begins with step 1, 2, 3
and on, and has nothing else in it before that.
"""

from __future__ import annotations

import re

from collectors.parser import Kind, Reader, Sink
from collectors.training.steps import Steps

LINE = re.compile(r"(\d+)\s+(\d+\.\d{3,})(?:\s+(\d+\.\d{3,}))?")
ENOUGH = 3  # steps in order, from which the file is believed


class Losses:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._steps = Steps(sink, {"framework": "torchtitan"})
        self._held: list[tuple[int, dict[str, float], int]] = []
        self._next = 1
        self._sure = False

    def feed(self, text: str, line: int) -> bool:
        found = LINE.fullmatch(text.strip())
        if found is None or int(found[1]) != self._next or self._sink.torn:
            return False
        self._next += 1
        values = {"loss": float(found[2])} | ({"grad_norm": float(found[3])} if found[3] else {})
        self._held.append((int(found[1]), values, line))
        self._sure = self._sure or len(self._held) >= ENOUGH
        if self._sure:
            for at, held, place in self._held:
                self._steps.add(at, held, place)
            self._held = []
        return True

    def close(self) -> None:
        self._steps.close()


def reader(sink: Sink) -> Reader:
    return Losses(sink)


KIND = Kind("losses", "columns of step, loss and gradient norm, from step 1", ("1 ", "1\t"), reader)
