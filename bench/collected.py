"""Records out of logs, into a run's folder like any other, as they come: memory does not grow with the logs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from collectors.parser import About, Found
from harness.hardware import Cluster
from harness.provenance import digest, now
from harness.records import SCHEMA, Failed, FoundDevice, Ok, Provenance, Record, cell_name
from harness.store import RunInfo, Store, new_id, read

SUITE = "collected"
TOGETHER = 256  # records that go to the disk at once
REMEMBERED = 1 << 20  # records of a file that a repeated row is looked up among


def info(cluster: Cluster, command: Sequence[str]) -> RunInfo:
    """What was asked. There are no cells to measure, and so none to resume."""
    return RunInfo(
        schema=SCHEMA, id=new_id(SUITE, cluster.name), created=now(), command=tuple(command), suite=SUITE,
        cluster=cluster, simulated=False, seed=0, launches=1, budget=None, cells=(),
    )  # fmt: skip


class Collected:
    """Takes records of one source after the other. A cell that is found again, in another table or file, is another
    launch. `records` are held only where nothing is stored."""

    def __init__(self, asked: RunInfo, folder: Path | None) -> None:
        self.info, self._folder = asked, folder
        self.store: Store | None = None
        self.records: list[Record] = []
        self.provenance: dict[str, Provenance] = {}
        self.contradictions: list[str] = []
        self._pending: list[Record | Provenance] = []
        self._launches: dict[tuple[str, int], int] = {}

    def source(self, name: str) -> Source:
        return Source(self, name)

    def add(self, name: str, stream: str, found: Found) -> None:
        held = self._provenance(name, found.about)
        key = cell_name(found.benchmark, found.params), found.version
        launch = self._launches.get(key, 0)
        self._launches[key] = launch + 1
        place = f"{name}: line {found.first}" + (f" to {found.last}" if found.last > found.first else "")
        place = place if found.first else name
        notes = (
            place + (f", of {stream}" if stream else ""),
            *found.notes,
            *(f"contradiction: {one}" for one in found.contradictions),
        )
        outcome = Failed(found.failed) if found.failed else Ok()
        self.contradictions += [f"{place}: {one}" for one in found.contradictions[: 50 - len(self.contradictions)]]
        self._put(
            Record(
                schema=SCHEMA, benchmark=found.benchmark, version=found.version, params=found.params, launch=launch,
                outcome=outcome, provenance=held, notes=tuple(notes),
                measurements=() if found.failed else found.measurements,
            )
        )  # fmt: skip

    def close(self) -> Sequence[Record]:
        """All that was found is on the disk; and every record."""
        self._flush()
        if self.store is None:
            return self.records
        self.store.close()
        return read(self.store.path).records

    def _provenance(self, name: str, about: About) -> str:
        """The id of what the log says of its origin; what it does not say is not made up."""
        held = Provenance(
            id="", started=self.info.created, host=about.host, command=self.info.command, commit=None, dirty=None,
            versions=dict(about.versions), environment={}, declared=self.info.cluster.name,
            definition=digest(self.info.cluster),
            devices=tuple(FoundDevice(device, vendor, at) for at, (device, vendor) in enumerate(about.devices)),
            ranks=about.ranks, nodes=about.nodes, threads=None, backend="", notes=(f"read from {name}",),
        )  # fmt: skip
        known = hashlib.sha256(msgspec.json.encode(held)).hexdigest()[:12]
        if known not in self.provenance:
            self.provenance[known] = msgspec.structs.replace(held, id=known)
            self._put(self.provenance[known])
        return known

    def _put(self, entry: Record | Provenance) -> None:
        self._pending.append(entry)
        if self._folder is None and isinstance(entry, Record):
            self.records.append(entry)
        if len(self._pending) >= TOGETHER:
            self._flush()

    def _flush(self) -> None:
        """The run's folder is made with the first record: where nothing is read, nothing is left behind."""
        if self._pending and self._folder is not None:
            if self.store is None:
                self.store = Store.create(self._folder, self.info)
            self.store.extend(self._pending)
        self._pending = []


class Source:
    """One file's records. Rows that are there twice, as where two ranks print the same table, count once: a record
    that equals an earlier one is held back, and dropped where its neighbour does so too. One that stands alone may be
    another average that happens to be the same."""

    def __init__(self, collected: Collected, name: str) -> None:
        self._collected, self._name = collected, name
        self._seen: set[int] = set()
        self._doubtful: tuple[str, str, Found] | None = None
        self._repeating = False
        self.kinds: dict[str, int] = {}
        self.repeated = 0

    def take(self, kind: str, stream: str, found: Found) -> bool:
        """Whether the record is counted, or may yet be."""
        own = hash((found.benchmark, tuple(found.params.items()), found.failed, tuple(
            (one.metric, one.samples, tuple(one.params.items())) for one in found.measurements
        )))  # fmt: skip
        again = own in self._seen
        if len(self._seen) < REMEMBERED:
            self._seen.add(own)
        if not again:
            self._repeating = False
            self.settle()
        elif self._repeating:
            self.repeated += 1
            return False
        elif self._doubtful is not None:
            self._doubtful, self._repeating = None, True
            self.repeated += 2
            return False
        else:
            self._doubtful = kind, stream, found
            return True
        self._add(kind, stream, found)
        return True

    def settle(self) -> None:
        """What was in doubt stood alone: it counts."""
        if self._doubtful is not None:
            doubtful, self._doubtful = self._doubtful, None
            self._add(*doubtful)

    def _add(self, kind: str, stream: str, found: Found) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self._collected.add(self._name, stream, found)
