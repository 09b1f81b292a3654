"""One file through all kinds: which line is whose, and what nobody could read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors import cleaning, documents, sources
from collectors.parser import Found, Kind, Reader
from harness.errors import UsageError

SHOWN = 10  # unread lines, and warnings, of which the text is kept
WIDEST = 200  # characters of a line that is shown
STREAMS = 4096  # ranks whose output is told apart; lines of more are read as one's


@dataclass
class Heard:
    """What came of a file, but for its records. kinds: records by kind. unread: lines with text that no kind took."""

    source: str
    lines: int = 0
    unread: int = 0
    first_unread: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)
    warned: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    problem: str = ""


Take = Callable[[str, str, Found], bool]
"""(kind, stream, record) -> whether it is new: a log often holds the same rows twice."""


def _silent(line: int) -> None:
    return


def read(
    source: str, kinds: Sequence[Kind], take: Take, forced: bool = False, tell: Callable[[int], None] = _silent
) -> Heard:  # fmt: skip
    """Read a file. forced: there is one kind only, and it need not show itself by its marks. tell: is given the
    number of a line now and then."""
    work = _Work(Heard(source), kinds, take, forced)
    try:
        for number, block in sources.blocks(source):
            if not work.block(number, block):
                work.look(block)
                for at, text, ended in sources.split(number, block):
                    work.torn = not ended
                    work.line(at, text)
            tell(work.heard.lines)
    except (sources.Broken, UsageError) as error:
        work.heard.problem = str(error)
    work.close()
    return work.heard


@dataclass
class _Out:
    """The sink of one kind in one stream."""

    work: _Work
    kind: str
    stream: str

    @property
    def torn(self) -> bool:
        return self.work.torn

    @property
    def shared(self) -> dict[str, Any]:
        return self.work.shared.setdefault(self.kind, {})

    def found(self, found: Found) -> None:
        heard = self.work.heard
        if self.work.take(self.kind, self.stream, found):
            heard.kinds[self.kind] = heard.kinds.get(self.kind, 0) + 1
        else:
            heard.repeated += 1

    def warn(self, line: int, text: str) -> None:
        heard = self.work.heard
        heard.warned += 1
        if len(heard.warnings) < SHOWN:
            heard.warnings.append((line, f"{self.kind}: {text}"[: 2 * WIDEST]))


@dataclass
class _Stream:
    """Readers at work on one rank's output, the last to take a line first; a JSON value that is not closed."""

    readers: list[tuple[str, Reader]] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    document: documents.Document | None = None


class _Work:
    def __init__(self, heard: Heard, kinds: Sequence[Kind], take: Take, forced: bool) -> None:
        self.heard, self.take, self._forced = heard, take, forced
        self.torn = False
        self.shared: dict[str, dict[str, Any]] = {}
        self._kinds = [kind for kind in kinds if kind.reader is not None]
        self._likely = self._kinds  # those of which a mark is in the block of lines at hand
        self._documents = [kind for kind in kinds if kind.document is not None]
        self._streams: dict[str, _Stream] = {}

    def block(self, number: int, text: str) -> bool:
        """Whether the reader at work takes a block of lines at once: a long log is mostly lines of one layout."""
        bare = self._streams.get("")
        if bare is None or bare.document is not None or not bare.readers or "\r" in text or "\x1b" in text:
            return False
        quick = getattr(bare.readers[0][1], "block", None)
        if quick is None or not text.endswith("\n") or not quick(text, number):
            return False
        self.heard.lines = number + text.count("\n") - 1
        return True

    def look(self, block: str) -> None:
        """Find out which kinds may begin in a block: to ask each line for every mark takes longer than all else."""
        text = cleaning.plain(block)
        self._likely = [one for one in self._kinds if self._forced or any(mark in text for mark in one.marks)]

    def line(self, number: int, raw: str) -> None:
        self.heard.lines = number
        text = cleaning.plain(raw)
        name, line = cleaning.peeled(text)
        stream = self._stream(name)
        if stream.document is not None:
            self._more(stream, line, number)
        elif line and not line.isspace() and not self._taken(stream, name, line, text, number):
            self._unread(number, text)

    def close(self) -> None:
        for name, stream in self._streams.items():
            if stream.document is not None:
                document, stream.document = stream.document, None
                value = document.whole() if not document.broken else documents.NOTHING
                if not self._read(document, value, name):
                    self._replay(stream, name, document)
            for _, reader in stream.readers:
                reader.close()

    def _stream(self, name: str) -> _Stream:
        if name not in self._streams and len(self._streams) >= STREAMS:
            name = ""
        return self._streams.setdefault(name, _Stream())

    def _taken(self, stream: _Stream, name: str, line: str, raw: str, number: int) -> bool:
        if self._fed(stream, line, number) or self._started(stream, name, line, number):
            return True
        if line != raw and (self._fed(stream, raw, number) or self._started(stream, name, raw, number)):
            return True  # what looked like a prefix was the line's own
        if self._documents and documents.begins(line):
            stream.document = documents.Document(number)
            self._more(stream, line, number)
            return True
        return False

    def _fed(self, stream: _Stream, line: str, number: int) -> bool:
        for at, (_, reader) in enumerate(stream.readers):
            if reader.feed(line, number):
                if at:
                    stream.readers.insert(0, stream.readers.pop(at))
                return True
        return False

    def _started(self, stream: _Stream, name: str, line: str, number: int) -> bool:
        """Whether a kind that was not at work here knows the line by its marks, and takes it."""
        for kind in self._likely:
            if kind.name not in stream.started and kind.reader is not None:
                if not self._forced and not any(mark in line for mark in kind.marks):
                    continue
                stream.started.add(kind.name)
                reader = kind.reader(_Out(self, kind.name, name))
                stream.readers.append((kind.name, reader))
                if reader.feed(line, number):
                    stream.readers.insert(0, stream.readers.pop())
                    return True
        return False

    def _more(self, stream: _Stream, line: str, number: int) -> None:
        document = stream.document
        assert document is not None
        if not document.add(line, number):
            return
        stream.document = None
        name = next(name for name, one in self._streams.items() if one is stream)
        value = documents.NOTHING if document.broken else document.value()
        if not self._read(document, value, name):
            self._replay(stream, name, document)

    def _read(self, document: documents.Document, value: object, name: str) -> bool:
        """Whether a kind took the value."""
        if value is documents.NOTHING:
            return False
        first, last = document.first, document.held[-1][0]
        return any(
            kind.document is not None and kind.document(value, _Out(self, kind.name, name), first, last)
            for kind in self._documents
        )

    def _replay(self, stream: _Stream, name: str, document: documents.Document) -> None:
        """The lines were no value of any kind: they may still be lines of one, also of a block before this."""
        self._likely = self._kinds
        for number, text in document.held:
            if text and not text.isspace() and not (
                self._fed(stream, text, number) or self._started(stream, name, text, number)
            ):  # fmt: skip
                self._unread(number, text)

    def _unread(self, number: int, text: str) -> None:
        self.heard.unread += 1
        if len(self.heard.first_unread) < SHOWN:
            self.heard.first_unread.append((number, text[:WIDEST]))
