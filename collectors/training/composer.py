"""llm-foundry and Composer (composer/loggers/console_logger.py): a block of `Train name: value` for each logged batch.
Numbers have four decimals there, so that one that was cut off shows."""

from __future__ import annotations

import re

from collectors.parser import Kind, Reader, Sink
from collectors.training.steps import Steps

BATCH = re.compile(r"\[batch=(\d+)/\d+\]:?")
FIELD = re.compile(r"(?<!\S)Train ([\w/.-]+): (-?\d{1,30}\.\d{4})(?!\S)")
FIELDS = {
    "loss/train/total": "loss", "throughput/tokens_per_sec": "tokens_total", "throughput/device/mfu": "mfu",
    "throughput/device/tokens_per_sec": "tokens", "throughput/samples_per_sec": "samples_total",
    "throughput/device/flops_per_sec": "flops",
}  # fmt: skip


class Composer:
    def __init__(self, sink: Sink) -> None:
        self._steps = Steps(sink, {"framework": "composer"})
        self._at: int | None = None
        self._values: dict[str, float] = {}
        self._line = 0

    def feed(self, text: str, line: int) -> bool:
        batch = BATCH.search(text)
        if batch is not None:
            self._flush()
            self._at = int(batch[1])
        elif self._at is None or not text.strip().startswith("Train "):
            return False
        for name, said in FIELD.findall(text):
            if name in FIELDS:
                self._values[FIELDS[name]] = float(said)
                self._line = line
        return True

    def close(self) -> None:
        self._flush()
        self._steps.close()

    def _flush(self) -> None:
        if self._values:
            self._steps.add(self._at, self._values, self._line)
        self._values = {}


def reader(sink: Sink) -> Reader:
    return Composer(sink)


KIND = Kind("composer", "llm-foundry and Composer: blocks of a batch", ("[batch=",), reader)
