"""MLPerf Training's `:::MLLOG {json}` lines (mlcommons/logging: mllog.py): what was run, how far, how long it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from collectors.parser import Found, Kind, Reader, Sink, parsed
from collectors.series import Series
from harness.records import Better, Params
from harness.units import Unit

MARK = ":::MLLOG"
NAMES = {
    "submission_benchmark": "benchmark", "submission_org": "organisation", "submission_platform": "platform",
    "global_batch_size": "batch", "seed": "seed", "max_sequence_length": "sequence",
    "gradient_accumulation_steps": "accumulation", "opt_name": "optimizer", "opt_base_learning_rate": "learning_rate",
}  # fmt: skip
SERIES = {
    "eval_accuracy": ("eval_accuracy", Unit.RATIO, Better.HIGHER),
    "throughput": ("samples_total", Unit.PER_SECOND, Better.HIGHER),
    "eval_loss": ("eval_loss", Unit.RATIO, Better.LOWER), "train_loss": ("loss", Unit.RATIO, Better.LOWER),
    "eval_error": ("eval_error", Unit.RATIO, Better.LOWER),
}  # fmt: skip


class Mllog:
    """One run at a time: it begins with run_start, and ends with run_stop, or where the log ends."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._clear()

    def _clear(self) -> None:
        self._params: Params = {}
        self._series: dict[str, Series] = {}
        self._began: float | None = None
        self._status = ""
        self._took: float | None = None
        self._first = self._last = 0

    def feed(self, text: str, line: int) -> bool:
        if MARK not in text:
            return False
        try:
            event = json.loads(text.partition(MARK)[2])
            key, at, value = event["key"], float(event["time_ms"]), event["value"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._sink.warn(line, "a line of MLLOG that is not whole: left out")
            return True
        self._first, self._last = self._first or line, line
        self._event(str(key), at, value, event.get("metadata"))
        return True

    def close(self) -> None:
        measurements = [
            parsed(name, unit, self._series[key].samples, better, block=self._series[key].block)
            for key, (name, unit, better) in SERIES.items() if key in self._series
        ]  # fmt: skip
        if self._took is not None:
            measurements.insert(0, parsed("time_to_train", Unit.SECOND, self._took))
        if measurements:
            failed = f"the run ended with status {self._status}" if self._status not in ("", "success") else ""
            self._sink.found(
                Found("e2e.mllog", self._params, tuple(measurements), self._first, self._last, failed=failed)
            )
        self._clear()

    def _event(self, key: str, at: float, value: Any, metadata: Any) -> None:  # noqa: ANN401 (JSON)
        if key in NAMES and isinstance(value, (str, int, float)):
            self._params[NAMES[key]] = value
        elif key in SERIES:
            self._add(key, value)
        elif key == "tracked_stats" and isinstance(value, dict):
            for name, held in value.items():
                self._add(name, held)
        elif key == "run_start":
            self._began = at
        elif key == "run_stop":
            self._status = str(metadata.get("status", "")) if isinstance(metadata, Mapping) else ""
            self._took = None if self._began is None else (at - self._began) / 1e3
            self.close()

    def _add(self, key: str, value: Any) -> None:  # noqa: ANN401 (JSON)
        if key in SERIES and isinstance(value, (int, float)) and value - value == 0:
            self._series.setdefault(key, Series()).add(float(value))


def reader(sink: Sink) -> Reader:
    return Mllog(sink)


KIND = Kind("mllog", "MLPerf Training's :::MLLOG lines", (MARK,), reader)
