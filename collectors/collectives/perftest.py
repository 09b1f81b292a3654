"""perftest: ib_write_bw, ib_read_bw, ib_send_bw, ib_*_lat and raw_ethernet_* (src/perftest_parameters.h: RESULT_FMT).

MB/sec there is 2^20 B/s, MiB/sec in later versions, and Gb/sec 10^9 bit/s (--report_gbits).
"""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import number, value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

TITLE = re.compile(r"\s*(?P<op>\S+)(?P<both> Bidirectional)? (?P<kind>BW|Latency|BW and Latency) Test\s*$")
HEAD = re.compile(r"\s*#bytes\s+#iterations\s")
SETTINGS = {"Number of qps": "pairs", "Link type": "link", "Mtu": "mtu", "Transport type": "transport"}

KNOWN = (
    "Dual-port", "Connection type", "PCIe relax order", "TX depth", "RX depth", "CQ Moderation", "Max inline data",
    "rdma_cm QPs", "Data ex. method", "GID index", "ibv_wr* API", "Using SRQ", "Outstand reads", "Post List",
)  # fmt: skip
SCALE = {"MB/sec": 2.0**20, "MiB/sec": 2.0**20, "Gb/sec": 1e9 / 8, "GiB/sec": 2.0**30}
LATENCY = {
    "t_min": "time_min", "t_max": "time_max", "t_typical": "time", "t_avg": "time_mean", "t_stdev": "time_stdev",
    "99%": "time_p99", "99.9%": "time_p999", "percentile": "",
}  # fmt: skip
WHOLE = re.compile(r"\d{1,18}|\d+\.\d{2,}")


class Perftest:
    """One end of a link. Both ends, where their output is mixed, print the same rows twice."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._params: Params = {}
        self._columns: list[str] = []

    def feed(self, text: str, line: int) -> bool:
        if HEAD.match(text):
            self._columns = [column.strip() for column in _columns(text)]
            return True
        title = TITLE.match(text)
        if title is not None:
            self._params = {"operation": title["op"].strip(), "test": title["kind"].lower()}
            self._params |= {"both_ways": True} if title["both"] else {}
            self._columns = []
            return True
        name, colon, said = text.partition(":")
        if colon and name.strip() in SETTINGS:
            known = re.split(r"\t|\s{2,}", said.strip())[0].removesuffix("[B]")
            self._params[SETTINGS[name.strip()]] = int(known) if known.isdigit() else known
            return True
        if self._columns and text.split()[:1] and text.split()[0].isdigit():
            self._row(text.split(), line)
            return True
        if colon and name.strip() in KNOWN:
            return True
        return text.startswith("-----") or "address: LID" in text or text.startswith(("****", "* Waiting"))

    def close(self) -> None:
        """Rows are given as they come."""

    def _row(self, words: list[str], line: int) -> None:
        fits = len(words) == len(self._columns) and all(map(WHOLE.fullmatch, words))
        if fits and self._sink.torn:  # rates of messages have six decimals, all else has two
            fits = len(words[-1].partition(".")[2]) == (6 if self._columns[-1].startswith("MsgRate") else 2)
        if not fits:
            self._sink.warn(line, "a row that is not whole: left out")
            return
        held = [one for column, said in zip(self._columns, words, strict=True) if (one := _measured(column, said))]
        if held:
            params = self._params | {"size": int(words[0])}
            said = _contradiction(dict(zip(self._columns, words, strict=True)))
            contradictions = (said,) if said else ()
            self._sink.found(Found("network.perftest", params, tuple(held), line, line, contradictions=contradictions))


def _contradiction(row: dict[str, str]) -> str:
    """The average bandwidth against the rate of messages and their size."""
    rate, average = number(row.get("MsgRate[Mpps]", "")), next((c for c in row if c.startswith("BW average[")), "")
    claimed = number(row.get(average, ""))
    if rate is None or claimed is None:
        return ""
    scale = SCALE.get(average.removeprefix("BW average[").rstrip("]"), 0.0)
    size = checks.exact(float(row["#bytes"]))
    return checks.product(
        "bandwidth", claimed.scaled(scale), Unit.BYTE_PER_SECOND, rate.scaled(1e6), size, "message rate times size"
    )


def _columns(text: str) -> list[str]:
    return re.findall(r"#\w+|BW \w+\s?\[[^\]]+\]|MsgRate(?: Port\d)?\[[^\]]+\]|[\w.%]+(?: percentile)?\[[^\]]+\]", text)


def _measured(column: str, said: str) -> Measurement | None:
    known = value(said)
    if known is None or column.startswith("#"):
        return None
    name, _, unit = column.partition("[")
    unit = unit.rstrip("]")
    if name.startswith("BW") and unit in SCALE:
        part = name.removeprefix("BW ").strip().lower()  # average, peak, port1, port2
        metric = "bandwidth" if part == "average" else f"bandwidth_{part}"
        return parsed(metric, Unit.BYTE_PER_SECOND, known * SCALE[unit])
    if name.startswith("MsgRate") and unit == "Mpps":
        return parsed("message_rate" + name[7:].replace(" ", "_").lower(), Unit.PER_SECOND, known * 1e6)
    metric = LATENCY.get(name.removesuffix(" percentile").strip(), "")
    return parsed(metric, Unit.SECOND, known * 1e-6) if metric and unit == "usec" else None


def reader(sink: Sink) -> Reader:
    return Perftest(sink)


KIND = Kind(
    "perftest", "perftest: ib_write_bw and its kin, bandwidth and latency",
    (" BW Test", "Latency Test", "#bytes     #iterations", "#bytes #iterations", "Bidirectional BW"), reader,
)  # fmt: skip
