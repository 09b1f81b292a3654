"""Lines of a file, of standard input, of what is packed; files of a folder. Memory does not grow with any of them."""

from __future__ import annotations

import codecs
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

from harness.errors import UsageError
from harness.units import show_size

STDIN = "-"
BLOCK = 1 << 20  # B read at once
LONGEST = 64 * 2**20  # characters of one line: a JSON document may be one
RATIO, LEAST = 200, 256 * 2**20  # what is packed may grow by that factor, and to so many B in any case
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
BINARY = "it is binary, no text. Accepted are text logs, JSON and CSV, plain or packed by gzip or zstd"


class Unpacker(Protocol):
    """eof: whether a member has ended; what comes after it is `unused_data`."""

    def decompress(self, data: bytes, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class Broken(Exception):
    """What came before in the file stands; the message says why it ends there."""


def blocks(name: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, from 1, text) of each block of whole lines of a file, '-' for standard input; only the
    last may lack its end. UsageError where the file cannot be opened or is binary; Broken where it ends before its
    end."""
    number, held = 1, list[str]()
    size = 0
    for text in _decoded(name, _unpacked(name, _blocks(name))):
        end = text.rfind("\n") + 1
        if end:
            whole = "".join([*held, text[:end]])
            yield number, whole
            number += whole.count("\n")
            held, size = [], 0
        held.append(text[end:])
        size += len(text) - end
        if size > LONGEST:  # a line without an end must not fill the memory
            yield number, "".join(held)
            held, size = [], 0
    if rest := "".join(held):
        yield number, rest


def lines(name: str) -> Iterator[tuple[int, str, bool]]:
    """(number, text, whether its end was there) of each line of a file."""
    for number, block in blocks(name):
        yield from split(number, block)


def split(number: int, block: str) -> Iterator[tuple[int, str, bool]]:
    """Lines of a block. A carriage return begins a line of the same number: a progress bar writes many."""
    *whole, rest = block.split("\n")
    for text in whole:
        if "\r" in text:
            yield from ((number, part, True) for part in text.split("\r") if part)
        elif text:
            yield number, text, True
        number += 1
    if rest:
        *parts, last = rest.split("\r")
        yield from ((number, part, True) for part in parts if part)
        if last:
            yield number, last, False


def files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """(files, problems): folders are walked, links to folders are not followed, each file comes once."""
    found, problems = dict[str, None](), list[str]()
    for name in names:
        if name == STDIN:
            found[name] = None
            continue
        try:
            kind = Path(name).stat().st_mode
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        if stat.S_ISDIR(kind):
            inside = list(_walked(name, problems))
            found.update(dict.fromkeys(inside))
            problems += [] if inside else [f"{name}: a folder without a file"]
        else:
            found[name] = None
    return list(found), problems


def _walked(folder: str, problems: list[str]) -> Iterator[str]:
    def failed(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=failed):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield str(path)
            elif path.is_symlink():
                problems.append(f"{path}: a link that leads nowhere, or to a folder (folders are not entered by links)")


def _blocks(name: str) -> Iterator[bytes]:
    try:
        with _opened(name) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _opened(name: str) -> IO[bytes]:
    if name == STDIN:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        kind = Path(name).stat().st_mode
    except ValueError as error:
        raise UsageError(f"{name!r}: {error}") from error
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        what = "a folder" if stat.S_ISDIR(kind) else "a device or socket"
        raise UsageError(f"{name}: {what}. Accepted are files, folders of them, and - for standard input")
    return open(name, "rb", buffering=0)


def _unpacked(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(blocks, b"")
    make = _gzip if first.startswith(GZIP) else _zstd if first.startswith(ZSTD) else None
    if make is None:
        yield first
        yield from blocks
        return
    yield from _limited(name, make, _chained(first, blocks))


def _limited(name: str, make: Callable[[], Unpacker], blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Unpacked blocks; a file may hold several members, one after the other."""
    read = grown = 0
    unpacker, fresh = make(), True
    for block in blocks:
        read += len(block)
        for at in range(0, len(block), 4096):  # small bites: each may grow a thousandfold
            data = block[at : at + 4096]
            while data:
                try:
                    out = unpacker.decompress(data)
                except Exception as error:  # zlib.error, zstandard.ZstdError
                    raise Broken(f"{name}: cannot be unpacked further: {error}") from error
                grown += len(out)
                fresh = False
                if grown > max(LEAST, RATIO * read):
                    raise Broken(
                        f"{name}: unpacks to more than {show_size(grown)} out of {show_size(read)}: read no further. "
                        "If it is a log, unpack it yourself."
                    )
                yield out
                data = b""
                if unpacker.eof:
                    data, unpacker, fresh = unpacker.unused_data.lstrip(b"\0"), make(), True
    if not fresh:
        raise Broken(f"{name}: the packed file was cut off: what was whole of it is read")


def _gzip() -> Unpacker:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _zstd() -> Unpacker:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _decoded(name: str, blocks: Iterator[bytes]) -> Iterator[str]:
    """Text; bytes that are none become replacement characters."""
    first = next(blocks, b"")
    while len(first) < 4 and (more := next(blocks, b"")):
        first += more
    mark, coding = next(((m, c) for m, c in MARKS if first.startswith(m)), (b"", "utf-8"))
    first = first[len(mark) :]
    if coding == "utf-8" and b"\0" in first[:8192]:
        raise UsageError(f"{name}: {BINARY}")
    decoder = codecs.getincrementaldecoder(coding)("replace")
    yield decoder.decode(first)
    for block in blocks:
        yield decoder.decode(block)
    yield decoder.decode(b"", True)
