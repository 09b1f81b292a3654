"""mamf-finder of stas00's ml-engineering: the greatest rate of a matrix product that a search over shapes found.

Layout: its `finish` and progress lines, from the single 'best outcome' of the first version to the table of mean,
median and max. All numbers have one decimal and their unit behind, so that a cut line tells itself. Progress lines
end in a carriage return and are there only where the output was a file of its own.
"""

from __future__ import annotations

import re

from collectors import numbers
from collectors.parser import Found, Kind, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

BENCHMARK = "gemm.mamf"
TERA = 1e12
_SHAPE = r"(\d+)x(\d+)x(\d+)"
_BEST = re.compile(rf"(mean|median|max): +(\d{{1,15}}\.\d) TFLOPS @ {_SHAPE} \(MxNxK\)\s*")
_FIRST = re.compile(rf"The best outcome was (\d{{1,15}}\.\d)TFLOPS @ {_SHAPE} \(MxNxK\) \(tried (\d+) shapes\)\s*")
_TRIED = re.compile(r"Tried +(\d+) shapes => the best outcomes were:\s*")
_RATE = r"(\d{1,15}\.\d)"
_ROW = re.compile(rf" *\d+ \| +{_RATE}\(mean\) +{_RATE}\(median\) +{_RATE}\(max\) @ {_SHAPE} +\| best: .*")
_ROW_FIRST = re.compile(rf" *\d+ \| +(\d{{1,15}}\.\d) TFLOPS @ {_SHAPE} +\| best: .*")
_OVER_ALL = re.compile(
    r"(arithmetic mean|geometric mean|geomean): +(\d{1,15}\.\d) TFLOPS(?: for \d+ shapes in range: .*)?\s*"
)
_DTYPE = re.compile(r"\*\* Dtype: (?:torch\.)?(\w+)\s*")
_OTHER = re.compile(r"(?:Across \d+ shapes in range: .*|Legend: TFLOPS = 10\*\*12 FLOPS|Elapsed time: .*)\s*")
_NAMES = {"mean": "flops_mean", "median": "flops", "max": "flops_max"}


class Reader:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._dtype: Params = {}
        self._open = False  # below 'the best outcomes were'

    def feed(self, text: str, line: int) -> bool:
        if "TFLOPS" in text:
            return self._rate(text, line)
        if _TRIED.fullmatch(text):
            self._open = True
            return True
        if (dtype := _DTYPE.fullmatch(text)) and not self._sink.torn:
            self._dtype = {"dtype": dtype[1]}
            return True
        return self._open and _OTHER.fullmatch(text) is not None

    def close(self) -> None:
        return

    def _rate(self, text: str, line: int) -> bool:
        if best := _BEST.fullmatch(text):
            name = best[1]
            self._give("best", best.groups()[2:], [_flops(_NAMES[name], best[2])], line, name)
        elif first := _FIRST.fullmatch(text):
            self._give("best", first.groups()[1:4], [_flops("flops", first[1])], line)
        elif row := _ROW.fullmatch(text):
            rates = [_flops(_NAMES[name], row[at]) for at, name in enumerate(_NAMES, start=1)]
            self._give("shape", row.groups()[3:], rates, line)
        elif row := _ROW_FIRST.fullmatch(text):
            self._give("shape", row.groups()[1:], [_flops("flops", row[1])], line)
        elif over := _OVER_ALL.fullmatch(text):
            name = "geometric" if over[1].startswith("geo") else "arithmetic"
            only = (_flops(f"flops_{name}_mean", over[2]),)
            self._sink.found(Found(BENCHMARK, {**self._dtype, "over": "all shapes"}, only, line, line))
        else:
            return _OTHER.fullmatch(text) is not None
        return True

    def _give(
        self, over: str, shape: tuple[str, ...], rates: list[Measurement], line: int, by: str = ""
    ) -> None:  # fmt: skip
        sides = [numbers.whole(side) for side in shape]
        params: Params = {**self._dtype, **dict(zip("mnk", sides, strict=True)), "over": over}
        if by:
            params["by"] = by  # each statistic may be the best at another shape
        self._sink.found(Found(BENCHMARK, params, tuple(rates), line, line))


def _flops(metric: str, text: str) -> Measurement:
    return parsed(metric, Unit.FLOP_PER_SECOND, float(text) * TERA)


KIND = Kind(
    "mamf-finder", "mamf-finder (ml-engineering)",
    ("=> the best outcomes were:", "The best outcome was ", "(mean) ", "TFLOPS @ ", "** Dtype: "), Reader,
)  # fmt: skip
