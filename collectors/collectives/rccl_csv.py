"""rccl-tests' CSV (-Z csv; Reporter::writeFile in src/common.cu): a header, then a row for each size and way.

    numCycle,collective,nodes,ranks,ranksPerNode,gpusPerRank,size,type,redop,inplace,time,algbw,busbw,#wrong

Without MPI the four columns after the name are one, `gpus`. Text is in quotes, also the number of wrong values; times
are µs and bandwidths GB/s, with six decimals.
"""

from __future__ import annotations

import re

from clusters.nccl_tests.rows import Table, Way, operation_named, row

MARK = "numCycle,collective,"
_ROW = re.compile(
    r'\d{1,12},"(?P<name>\w+)",(?:(?P<nodes>\d{1,7}),(?P<ranks>\d{1,7}),\d{1,7},(?P<each>\d{1,7})|(?P<gpus>\d{1,7})),'
    r'(?P<size>\d{1,18}),"(?P<type>\w+)","(?P<redop>\w*)",(?P<in_place>[01]),'
    r'(?P<time>\d{1,15}\.\d{6}),(?P<algbw>\d{1,15}\.\d{6}),(?P<busbw>\d{1,15}\.\d{6}),"(?P<wrong>N/A|\d{1,18})"'
)


def header(text: str) -> bool:
    return text.startswith(MARK) and text.rstrip().endswith("#wrong")


def table(text: str, line: int) -> Table | None:
    """A row as a table of its own, for each says its operation and ranks; None where it is none, or not whole."""
    found = _ROW.fullmatch(text.strip()) if text[:1].isdigit() else None
    if found is None or float(found["time"]) <= 0:
        return None
    ranks = int(found["ranks"]) * int(found["each"]) if found["ranks"] else int(found["gpus"])
    wrong = None if found["wrong"] == "N/A" else int(found["wrong"])
    way = Way(float(found["time"]), float(found["algbw"]), float(found["busbw"]), wrong)
    held = row(int(found["size"]), 0, found["type"], found["redop"], None, found["in_place"] == "1", way, line)
    nodes = int(found["nodes"]) if found["nodes"] else None
    return Table(operation_named(found["name"]), ranks or None, nodes, (), {}, (held,), line)
