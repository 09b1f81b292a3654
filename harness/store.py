"""A run on disk: `run.json` (what was asked), `records.jsonl` (what came of it), `logs/`.

run.json is written once, records.jsonl only appended to, a line at a time, flushed to the disk; no
file is ever rewritten, so a crash, a kill or a full disk costs at most the line being written, and
everything before it still reads. Lines are of two types: `provenance` (once per launch) and `record`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.errors import CannotRun, UsageError
from harness.files import append_line, write_atomically
from harness.hardware import Cluster
from harness.records import SCHEMA, Incomplete, Params, Provenance, Record, Struct, cell_name

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)  # what damaged JSON raises


class Planned(Struct, frozen=True):
    """A cell that the run is to measure, in each of its launches."""

    benchmark: str
    version: int
    params: Params

    @property
    def label(self) -> str:
        return cell_name(self.benchmark, self.params)


class RunInfo(Struct, frozen=True):
    """What was asked: enough to report on the run, and to resume it."""

    schema: int
    id: str
    created: str  # ISO 8601, UTC
    command: tuple[str, ...]
    suite: str
    cluster: Cluster  # the definition as it was, whole
    simulated: bool
    seed: int
    launches: int
    budget: float | None  # s
    cells: tuple[Planned, ...]


class _RecordLine(Struct, frozen=True, tag="record", tag_field="type"):
    record: Record


class _ProvenanceLine(Struct, frozen=True, tag="provenance", tag_field="type"):
    provenance: Provenance


_Line = _RecordLine | _ProvenanceLine


@dataclass(frozen=True)
class Run:
    """A run as read back. `problems` names what could not be read."""

    path: Path
    info: RunInfo
    records: tuple[Record, ...]
    provenance: dict[str, Provenance]
    problems: tuple[str, ...]

    @property
    def finished(self) -> set[tuple[str, int]]:
        """(cell, launch) that need no further measuring: all but the incomplete ones."""
        done = set()
        for record in self.records:
            key = (cell_name(record.benchmark, record.params), record.launch)
            if isinstance(record.outcome, Incomplete):
                done.discard(key)
            else:
                done.add(key)
        return done


def new_id(suite: str, cluster: str) -> str:
    """A run's folder name: sorts by time, says what it is, and never collides."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{cluster}-{suite}-{os.urandom(4).hex()}"


class Store:
    """Appends to one run's folder; the only writer for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        self._lock = open(path / RUN_FILE, "rb")  # noqa: SIM115 (held open: it is the lock)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise CannotRun(f"{path} is being written by another `bench run`; wait for it, or end it.") from error

    def close(self) -> None:
        self._lock.close()

    @classmethod
    def create(cls, folder: Path, info: RunInfo) -> Store:
        """A new run under `folder`; CannotRun if the folder cannot be written."""
        path = folder / info.id
        try:
            (path / "logs").mkdir(parents=True, mode=0o755)
        except OSError as error:
            raise UsageError(f"cannot create {path}: {error.strerror}. Name a writable folder with --out.") from error
        write_atomically(path / RUN_FILE, msgspec.json.format(msgspec.json.encode(info), indent=1))
        (path / RECORDS_FILE).touch()
        return cls(path)

    def append(self, entry: Record | Provenance) -> None:
        """One line, on the disk before this returns. A full disk leaves what was there readable."""
        self.extend([entry])

    def extend(self, entries: Iterable[Record | Provenance]) -> None:
        """A line each, all on the disk before this returns: for many records at once."""
        lines: list[_Line] = [
            _RecordLine(entry) if isinstance(entry, Record) else _ProvenanceLine(entry) for entry in entries
        ]
        data = b"\n".join(map(self._encoder.encode, lines))
        target = self.path / RECORDS_FILE
        try:
            append_line(target, data)
        except OSError as error:
            raise CannotRun(
                f"cannot append to {target}: {error.strerror}. Every earlier record is intact; free some space, "
                f"then continue with `bench run --resume {self.path}`."
            ) from error


def is_run(path: Path) -> bool:
    """Whether a run's folder is there; a name that no file can have is none."""
    try:
        return (path / RUN_FILE).is_file()
    except OSError:
        return False


def read_info(path: Path) -> RunInfo:
    """run.json of a run's folder; UsageError where it is none, or of another schema."""
    try:
        data = (path / RUN_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{path} is no run: {RUN_FILE}: {error.strerror}. See `bench list runs`.") from error
    try:
        _check_schema(data, path / RUN_FILE)
        return msgspec.json.decode(data, type=RunInfo)
    except UNREADABLE as error:
        raise UsageError(
            f"{path / RUN_FILE} is damaged: {error}. Without it the run can be neither shown nor resumed; restore it "
            f"from a copy. Its samples are in {RECORDS_FILE}."
        ) from error


class _Schema(msgspec.Struct):
    schema: int | None = None


def _check_schema(data: bytes, where: Path | str) -> None:
    held = msgspec.json.decode(data, type=_Schema).schema
    if held != SCHEMA:
        raise UsageError(f"{where}: schema {held}, and this program reads {SCHEMA}. Use the version that wrote it.")


def read(path: Path) -> Run:
    """The whole run. Lines that cannot be read are named in `problems`; the others are kept."""
    info = read_info(path)
    records: list[Record] = []
    provenance: dict[str, Provenance] = {}
    problems: list[str] = []
    for number, line in _lines(path / RECORDS_FILE):
        try:
            entry = _decoder.decode(line)
        except UNREADABLE as error:
            problems.append(f"{RECORDS_FILE} line {number}: {error}")
            continue
        if isinstance(entry, _ProvenanceLine):
            provenance[entry.provenance.id] = entry.provenance
        elif entry.record.schema != SCHEMA:
            problems.append(f"{RECORDS_FILE} line {number}: schema {entry.record.schema}, this program reads {SCHEMA}")
        else:
            records.append(entry.record)
    return Run(path, info, tuple(records), provenance, tuple(problems))


_decoder = msgspec.json.Decoder(_Line)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines one at a time with their numbers, empty ones left out; a file that is not there has none."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def list_runs(folder: Path) -> tuple[list[RunInfo], list[str]]:
    """What was asked in every run under `folder`, oldest first, and why a run could not be read."""
    infos, problems = list[RunInfo](), list[str]()
    try:
        children = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}. Name a folder of runs with --out.") from error
    for child in filter(is_run, children):
        try:
            infos.append(read_info(child))
        except UsageError as error:
            problems.append(str(error))
    return infos, problems
