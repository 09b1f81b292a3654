"""The quick way through a long Megatron log: the text between the numbers of a line is learnt once, and one pattern of
it then takes the numbers out of a whole block of lines.

Only what a line by line reading would give comes of it: `read` gives up on a block in which any line differs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import repeat

LINE = re.compile(r"iteration +(\d+)/ *(\d+) *\|")
ITERATION = "iteration "
CONSUMED = "consumed samples"
FIELDS: dict[str, tuple[str, float]] = {
    "elapsed time per iteration (ms)": ("time", 1e-3),
    "elapsed time per iteration (s)": ("time", 1.0),
    "throughput per GPU (TFLOP/s/GPU)": ("flops", 1e12),
    "throughput (TFLOP/s/GPU)": ("flops", 1e12),
    "TFLOPs": ("flops", 1e12),
    "tokens per GPU (tokens/s/GPU)": ("tokens", 1.0),
    "tokens-per-second-per-gpu": ("tokens", 1.0),
    "tokens/sec/gpu": ("tokens", 1.0),
    "tokens per second": ("tokens_total", 1.0),
    "samples per second": ("samples_total", 1.0),
    "lm loss": ("loss", 1.0),
    "loss": ("loss", 1.0),
    "grad norm": ("grad_norm", 1.0),
    "learning rate": ("learning_rate", 1.0),
    "global batch size": ("batch", 1.0),
    "MFU": ("mfu", 1.0),
}


@dataclass(frozen=True)
class Block:
    iterations: list[int]
    consumed: list[int]
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Layout:
    """prefixes: the text before the number of each field of a line, in order; the first is the iteration's. names: what
    a field is, '' for one that is not kept."""

    prefixes: tuple[str, ...]
    names: tuple[str, ...]
    scales: tuple[float, ...]

    def read(self, text: str) -> Block | None:
        """Numbers of all lines of a block; None where a line has other fields, or a number is none."""
        width, cells = len(self.prefixes), text.split("|")
        if len(cells) != width * text.count("\n") + 1:
            return None
        consumed: list[int] = []
        held: dict[str, list[float]] = {}
        try:
            iterations = [
                int(cell[cell.index(ITERATION) + len(ITERATION) : cell.index("/ ")]) for cell in cells[:-1:width]
            ]
            for at, (prefix, name, scale) in enumerate(zip(self.prefixes, self.names, self.scales, strict=True)):
                if not at:
                    continue  # the iterations
                skip, column = len(prefix), cells[at::width]
                if not all(map(str.startswith, column, repeat(prefix))):
                    return None
                if not name:
                    continue
                if name == CONSUMED:
                    consumed = [int(cell[skip:]) for cell in column]
                    continue
                numbers = [float(cell[skip:]) for cell in column]
                if not math.isfinite(sum(numbers)):
                    return None
                held[name] = numbers if scale == 1.0 else [one * scale for one in numbers]
        except ValueError:
            return None
        return Block(iterations, consumed, held)


def layout(line: str) -> Layout | None:
    """The layout of an iteration's line; None where it is none, or one that has to be looked at line by line."""
    first, *parts = line.rstrip().split("|")
    if LINE.search(line) is None or ITERATION not in first or not parts or parts.pop():
        return None
    prefixes, names, scales = [ITERATION], [""], [1.0]
    for part in parts:
        name, colon, _ = part.partition(": ")
        known = (CONSUMED, 1.0) if name.strip() == CONSUMED else FIELDS.get(name.strip())
        if not colon or (known is not None and known[0] in (*names, "samples_total")):
            return None  # a name that is there twice; a rate that is held against batch and time
        prefixes.append(name + colon)
        names.append(known[0] if known else "")
        scales.append(known[1] if known else 1.0)
    return Layout(tuple(prefixes), tuple(names), tuple(scales)) if {"time", "loss"} & set(names) else None
