"""nvidia-smi topo -m: how each pair of devices is joined. NV18 is a bond of 18 NVLinks, the others are of PCIe."""

from __future__ import annotations

import re

from collectors.parser import Found, Kind, Reader, Sink, parsed
from harness.records import Params
from harness.units import Unit

DEVICE = re.compile(r"(?:GPU|NIC)\d{1,3}|mlx5_\d{1,3}")
PATH = re.compile(r"X|SYS|NODE|PHB|PXB|PIX|PSB|NV\d{1,3}")
LEGEND = re.compile(r"\s+(?:X|SYS|NODE|PHB|PXB|PIX|NV#)\s+= .*")


class Topology:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._columns = sink, list[str]()

    def feed(self, text: str, line: int) -> bool:
        words = text.split()
        if words[:1] == ["GPU0"] and ("CPU" in words or "NUMA" in words or words[1:2] == ["GPU1"]):
            self._columns = [word for word in words if DEVICE.fullmatch(word)]
            return True
        if self._columns and words and DEVICE.fullmatch(words[0]):
            return self._row(words, line)
        return text.strip() in ("Legend:", "NIC Legend:") or LEGEND.fullmatch(text) is not None

    def close(self) -> None:
        """Rows are given as they come."""

    def _row(self, words: list[str], line: int) -> bool:
        paths = words[1 : len(self._columns) + 1]
        if len(paths) != len(self._columns) or not all(map(PATH.fullmatch, paths)) or self._sink.torn:
            self._sink.warn(line, "a row that is not whole: left out")
            return True
        for target, path in zip(self._columns, paths, strict=True):
            links = int(path[2:]) if path.startswith("NV") else 0
            params: Params = {"source": words[0], "target": target, "path": "self" if path == "X" else path}
            self._sink.found(Found("smi.topology", params, (parsed("nvlinks", Unit.COUNT, float(links)),), line, line))
        return True


def reader(sink: Sink) -> Reader:
    return Topology(sink)


KIND = Kind("nvidia-smi-topo", "nvidia-smi topo -m", ("GPU0",), reader)
