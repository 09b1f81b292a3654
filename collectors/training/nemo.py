"""NeMo 2's lines of progress (nemo/lightning/pytorch/callbacks/progress_printer.py), and the progress bar of NeMo 1."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import Kind, Reader, Sink
from collectors.training.steps import Steps

LINE = re.compile(r"Training epoch \d+, iteration (\d+)/\d+ \| ")
BAR = re.compile(r"([A-Za-z_][\w ]*)=([-+\d.e]+)(?=[,\]])")
FIELDS: dict[str, tuple[str, float]] = {
    "lr": ("learning_rate", 1.0),
    "global_batch_size": ("batch", 1.0),
    "reduced_train_loss": ("loss", 1.0),
    "train_step_timing in s": ("time", 1.0),
    "TFLOPS_per_GPU": ("flops", 1e12),
    "tflops_per_sec_per_gpu": ("flops", 1e12),
    "tokens_per_sec_per_gpu": ("tokens", 1.0),
    "peak_memory_usage": ("memory", 1.0),
    "max_memory_reserved": ("memory", 1.0),
    "grad_norm": ("grad_norm", 1.0),
}


class Nemo:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._steps = sink, Steps(sink, {"framework": "nemo"})

    def feed(self, text: str, line: int) -> bool:
        found = LINE.search(text)
        if found is not None:
            parts = text[found.end() :].split(" | ")
            pairs = [part.partition(": ")[::2] for part in (parts[:-1] if self._sink.torn else parts)]
            return self._add(int(found[1]), pairs, line)
        if "train_step_timing in s=" in text or "reduced_train_loss=" in text:
            pairs = [(name.strip(), said) for name, said in BAR.findall(text)]
            step = next((value(said) for name, said in pairs if name == "global_step"), None)
            return self._add(None if step is None else int(step), pairs, line)
        return False

    def close(self) -> None:
        self._steps.close()

    def _add(self, at: int | None, pairs: list[tuple[str, str]], line: int) -> bool:
        values = {
            FIELDS[name][0]: known * FIELDS[name][1]
            for name, said in pairs if name in FIELDS and (known := value(said)) is not None
        }  # fmt: skip
        if values:
            self._steps.add(at, values, line)
        return bool(values)


def reader(sink: Sink) -> Reader:
    return Nemo(sink)


MARKS = ("Training epoch ", "train_step_timing in s=", "reduced_train_loss=")
KIND = Kind("nemo", "NeMo and Lightning: lines of progress", MARKS, reader)
