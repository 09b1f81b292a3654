"""The table that nccl-tests and rccl-tests print, out of a log that holds more than it.

Layouts: nccl-tests src/util.cu (writeResultHeader, writeBenchmarkLine...) and the per-collective headers
before 2.10, where a column `error` held the greatest deviation and `redop` or `root` could be missing;
rccl-tests adds versions, and columns behind. A launcher may put a prefix before each line, and another
rank's message may stand in the middle of one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from clusters.nccl_tests.rows import (
    Log,
    Row,
    Table,
    Way,
    nccl_version,
    operation_from,
    operation_named,
    row,
)

GROUP = 4  # columns of each way: time, algbw, busbw, #wrong
WARNED = 20  # messages that are repeated to the reader

_PREFIX = re.compile(r"^\s*(?:\[\d+,\d+\]<std(?:out|err)>:|\d+: )")  # mpirun --tag-output, srun --label
_MESSAGE = re.compile(r"(?:\[\d{4}-[^\]]*\] )?[A-Za-z][\w.-]*:\d+:\d+ \[\d+\] NCCL (\w+) ?(.*)")
_FAILURE = re.compile(r"Test (?:NCCL|CUDA|HIP) failure|Test failure|Test timeout|out of memory", re.IGNORECASE)
_DEVICE = re.compile(r"Rank +\d+ +(?:Group +(\d+) +)?Pid +\d+ on +(\S+) device +\d+ +\[[^\]]*\] +(.+)")
_PROGRAM = re.compile(r"([\w./-]*\w_perf)\b")
_VERSIONS = (
    re.compile(r"(?P<name>[nr]ccl-tests) version (?P<value>\S+)"),
    re.compile(r"(?P<name>rccl-tests): Version (?P<value>\S+)"),
    re.compile(r"(?P<name>RCCL|HIP|ROCm) version *: *(?P<value>\S+)"),
    re.compile(r"^(?P<name>NCCL) version (?P<value>\S+)"),
)
_BEGUN = re.compile(r"\s*[0-9]{1,18}\s+[0-9]{1,18}\s+[a-z]")
MODERN = ("size", "count", "type", "redop", "root", *("time", "algbw", "busbw", "#wrong") * 2)
_HEADLESS = re.compile(
    r"[0-9]{1,18}\s+[0-9]{1,18}\s+[a-z][a-z0-9_]*\s+[a-z]+\s+-?[0-9]{1,9}(?:\s+[0-9.]+){3}\s+(?:[0-9]+|N/A)"
    r"(?:\s+[0-9.]+){3}\s+(?:[0-9]+|N/A)$"
)
_KNOWN = ("nThread ", "Using devices", "(B) ", "out-of-place", "Reducing maxBytes", "Collective test", "WARNING: ",
          "Hostname     : ", "Librccl path : ", "Errors with asterisks")  # fmt: skip
_ROOT = re.compile(r"-?[0-9]{1,9}")
_BOUNDS = re.compile(r"Out of bounds values *: *([0-9]{1,18})")
_LIBRARY = re.compile(r"nccl-library=(\d+)")


def read(text: str) -> Log:
    """Every table in the text. Lines that are not whole are left out, with a warning."""
    reader = Reader()
    for number, raw in enumerate(text.splitlines(), start=1):
        reader.raw(_PREFIX.sub("", raw), number)
    return reader.log()


@dataclass
class Reader:
    """What has been read so far. What precedes a table (devices, versions, the program) belongs to it."""

    tables: list[Table] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # of the last table
    warnings: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    program: str = ""
    hosts: list[tuple[str, str, str]] = field(default_factory=list)  # group, host, device of each rank
    versions: dict[str, str] = field(default_factory=dict)
    whole: bool = True
    bounds: int = 0
    average: str = ""
    begun: str = ""  # a row that somebody's message has cut in two
    first: int = 0

    def raw(self, text: str, number: int) -> bool:
        """Take a line without its launcher's prefix; False where it is not of these programs, nor of NCCL's own."""
        line = self.begun + text
        self.first = self.first if self.begun else number
        message = _MESSAGE.search(line)
        begun = line[: message.start()] if message else ""
        if message is None:
            taken = self.line(line.strip().lstrip("#").strip(), self.first) or text.strip() == "#"
        else:
            taken = True
            if message[1] == "WARN":
                self.warn(number, message[2])
        self.begun = begun if _BEGUN.match(begun) else ""
        return taken

    def line(self, line: str, number: int) -> bool:
        words = line.split()
        if words[:3] == ["size", "count", "type"]:
            self._header(words, number)
        elif not self.columns and _HEADLESS.match(line) and _whole_size(words):
            self._header(list(MODERN), number)
            self.warn(
                number, "the header of this table is missing: its rows are read as those of nccl-tests 2.11 and later"
            )
            self._row(words, number)
        elif self.columns and _BEGUN.match(line):
            self._row(words, number)
        elif bounds := _BOUNDS.match(line):
            self.bounds = int(bounds[1])
        elif words[:3] == ["Avg", "bus", "bandwidth"]:
            self.whole, self.average = True, words[-1]
        elif _FAILURE.search(line):
            self.warn(number, line)
        else:
            return self._context(line) or line.startswith(_KNOWN)
        return True

    def warn(self, number: int, text: str) -> None:
        if len(self.warnings) < WARNED and not any(warning.endswith(f": {text}") for warning in self.warnings):
            self.warnings.append(f"line {number}: {text}")

    def log(self) -> Log:
        self._close()
        return Log(tuple(self.tables), tuple(self.warnings))

    def _context(self, line: str) -> bool:
        found = False
        if device := _DEVICE.match(line):
            self.hosts.append((device[1] or "0", device[2], device[3].strip()))
            found = True
        elif program := _PROGRAM.search(line):
            found = True
            self.program = self.program if "concluded" in line else program[1]
        for pattern in _VERSIONS:
            if version := pattern.search(line):
                self.versions[version["name"]] = version["value"]
                found = True
        if library := _LIBRARY.search(line):
            self.versions["NCCL"] = nccl_version(int(library[1]))
            found = True
        return found

    def _header(self, words: list[str], number: int) -> None:
        self._close()
        self.columns, self.whole, self.bounds, self.average = words, False, 0, ""
        group = [host for host in self.hosts if host[0] == self.hosts[0][0]]
        nodes, devices = len({host for _, host, _ in group}) or None, tuple(dict.fromkeys(name for *_, name in group))
        self.tables.append(
            Table(operation_named(self.program), len(group) or None, nodes, devices, self.versions, (), number)
        )
        self.hosts, self.versions, self.program = [], {}, ""
        if words.count("time") != 2:
            self.warn(number, f"columns {' '.join(words)}: read are tables with two columns `time`, in µs")

    def _close(self) -> None:
        """Give the last table its rows, and say what is wrong with it as a whole."""
        if self.columns:
            average = float(self.average) * 1e9 if _number(self.average) else None
            table = replace(self.tables[-1], rows=tuple(self.rows), average=average)
            if table.operation is None and table.rows:
                guessed = operation_from(table.factor, table.rows[-1].redop, table.rows[-1].root)
                table = replace(table, operation=guessed)
            self.tables[-1] = table
            if not self.whole:
                self.warnings.append(f"line {table.line}: this table has no summary at its end: it was cut off")
            if self.bounds and not any(row.wrong for row in self.rows):
                self.warnings.append(f"line {table.line}: the summary tells of {self.bounds} wrong results, unnamed")
        self.rows, self.columns = [], []

    def _row(self, words: list[str], number: int) -> None:
        if self.columns.count("time") != 2:
            return
        rest, redop, root = words[3:], "", None
        if "redop" in self.columns and rest and not _number(rest[0]):
            redop = rest.pop(0)
        if "root" in self.columns and rest and _ROOT.fullmatch(rest[0]):
            root = int(rest.pop(0))
        behind = len(self.columns) - self.columns.index("time") > 2 * GROUP
        if len(rest) < 2 * GROUP or (len(rest) > 2 * GROUP and not behind):
            self.warn(number, f"{len(rest)} values where the header asks for {2 * GROUP}: left out")
            return
        for in_place in (False, True):
            values = rest[in_place * GROUP : (in_place + 1) * GROUP]
            way = _way(values, deviation="error" in self.columns)
            if way is None:
                self.warn(number, f"{' '.join(values)} is no time, bandwidths and count: left out")
                continue
            self.rows.append(row(int(words[0]), int(words[1]), words[2], redop, root, in_place, way, number))
            if way.wrong:
                self.warn(number, f"{self.rows[-1].label}: the result was wrong, so it has no number")


def _way(values: list[str], deviation: bool) -> Way | None:
    """Four values; the last is a count of wrong elements, or a deviation with * where it is too great."""
    *numbers, last = values
    checked = last.rstrip("*")
    if not all(map(_number, numbers)) or float(numbers[0]) <= 0 or not (checked == "N/A" or _number(checked)):
        return None
    wrong = None if checked == "N/A" else int(last.endswith("*") if deviation else math.ceil(float(checked)))
    time, algbw, busbw = map(float, numbers)
    return Way(time, algbw, busbw, wrong)


def _whole_size(words: list[str]) -> bool:
    """Whether a row without a header has all digits of its size: it is at least `count` elements of 1 B or more."""
    return int(words[0]) >= int(words[1])


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False
