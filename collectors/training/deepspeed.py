"""DeepSpeed's throughput lines (deepspeed/utils/timer.py: ThroughputTimer.stop), of all versions. Samples are the whole
job's; GB is 2^30 B there."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import Kind, Reader, Sink
from collectors.training.steps import Steps

RATE = re.compile(
    r"(?:epoch=\d{1,9}/micro_step=\d{1,12}/global_step=|(?<!\S)\d{1,9}/)(\d{1,12}), RunningAvgSamplesPerSec=([\d.]+), "
    r"CurrSamplesPerSec=([\d.]+)(?:, MemAllocated=)(?:[\d.]+GB, MaxMemAllocated=([\d.]+)GB)?"
)
STEP = re.compile(r"\[Rank \d+\] step=\d+, skipped=\d+, lr=\[.*\], mom=\[.*\]")


class DeepSpeed:
    def __init__(self, sink: Sink) -> None:
        self._steps = Steps(sink, {"framework": "deepspeed"})

    def feed(self, text: str, line: int) -> bool:
        if "SamplesPerSec=" not in text:
            return "skipped=" in text and STEP.search(text) is not None
        found = RATE.search(text)
        if found is None:
            return False
        read = {
            "samples_total": value(found[3]), "samples_total_average": value(found[2]),
            "memory": (value(found[4] or "") or 0.0) * 2**30 or None,
        }  # fmt: skip
        self._steps.add(int(found[1]), {name: held for name, held in read.items() if held is not None}, line)
        return True

    def close(self) -> None:
        self._steps.close()


def reader(sink: Sink) -> Reader:
    return DeepSpeed(sink)


KIND = Kind("deepspeed", "DeepSpeed: throughput lines", ("RunningAvgSamplesPerSec=",), reader)
