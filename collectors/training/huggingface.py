"""The Hugging Face Trainer's dictionaries (transformers/trainer_callback.py: PrinterCallback): one a logging step, and
one at the end, which every rank prints."""

from __future__ import annotations

import ast

from collectors.parser import Kind, Reader, Sink
from collectors.training.steps import Steps

MARKS = ("{'loss': ", "{'train_runtime': ")
FIELDS = {
    "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "train_runtime": "time_total",
    "train_samples_per_second": "samples_total", "train_tokens_per_second": "tokens_total",
}  # fmt: skip


class HuggingFace:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._steps = sink, Steps(sink, {"framework": "huggingface"})
        self._ended = False

    def feed(self, text: str, line: int) -> bool:
        mark = next((mark for mark in MARKS if mark in text), "")
        if not mark:
            return False
        try:
            held = ast.literal_eval(text[text.index(mark) : text.rindex("}") + 1])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            self._sink.warn(line, "a dictionary that is not whole: left out")
            return True
        last = mark == MARKS[1]
        if last and self._ended:
            return True  # another rank's end of the same job
        self._ended = last
        values = {
            FIELDS[name]: float(one) for name, one in held.items()
            if name in FIELDS and isinstance(one, (int, float)) and one - one == 0
        } if isinstance(held, dict) else {}  # fmt: skip
        if values:
            self._steps.add(None, values, line)
        return True

    def close(self) -> None:
        self._steps.close()


def reader(sink: Sink) -> Reader:
    return HuggingFace(sink)


KIND = Kind("huggingface", "Hugging Face Trainer: losses and run time", MARKS, reader)
