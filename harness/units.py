"""Units of what is stored, and how a value is written for a reader.

Records hold base units only (s, B, B/s, FLOP, ...). Scaling to ms, GiB or TFLOP/s happens here and
nowhere else, at the moment a number is shown. GB is 10^9 bytes and GiB 2^30; rates use powers of
ten (as nccl-tests does), message and buffer sizes use powers of two.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated

import msgspec

Bytes = Annotated[int, msgspec.Meta(gt=0, extra={"unit": "B"})]
"""A parameter that is a size; the command line takes '16MiB', '4KB' or '4096' for it."""


class Unit(StrEnum):
    """Base units of records (DESIGN: core types)."""

    SECOND = "s"
    BYTE = "B"
    BYTE_PER_SECOND = "B/s"
    FLOP = "FLOP"
    FLOP_PER_SECOND = "FLOP/s"
    TOKEN = "token"
    TOKEN_PER_SECOND = "token/s"
    WATT = "W"
    JOULE = "J"
    USD = "USD"
    RATIO = "ratio"
    COUNT = "count"
    HERTZ = "Hz"
    PER_SECOND = "1/s"  # operations, messages, sequences
    CELSIUS = "°C"


_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_PLAIN = {Unit.RATIO: "", Unit.COUNT: "", Unit.USD: "USD", Unit.CELSIUS: "°C"}  # never with a prefix
_SMALL = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_SUFFIX = {"": 1, "b": 1} | {
    f"{letter}{tail}": (2 ** (10 * power) if tail == "ib" else 10 ** (3 * power))
    for power, letter in enumerate("kmgt", start=1)
    for tail in ("ib", "b")
}


def scale_of(value: float, unit: Unit) -> tuple[float, str]:
    """The factor and the unit text in which `value` is best read: (1e9, 'GB/s') for 2.1e10 B/s."""
    size = abs(value)
    if unit is Unit.SECOND:
        return next(((f, s) for f, s in _SMALL if size >= f), _SMALL[-1] if size else _SMALL[0])
    if unit in _PLAIN:
        return 1.0, _PLAIN[unit]
    factor, prefix = next(((f, p) for f, p in _DECIMAL if size >= f), _DECIMAL[-1])
    return factor, f"{prefix}/s" if unit is Unit.PER_SECOND else f"{prefix}{unit.value}"


def digits(value: float, significant: int = 3) -> str:
    """`value` with a fixed number of significant digits and no exponent: 0.0123, 1.23, 123, 1230."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.{significant - 1}e}".rpartition("e")[2])  # after rounding: 9.999 is 10.0
    return f"{value:.{max(0, significant - 1 - exponent)}f}"


def show(value: float, unit: Unit, significant: int = 3) -> str:
    """`value` (base unit) as text: '21.3 GB/s', '48.2 µs', '97.5 TFLOP/s'."""
    factor, text = scale_of(value, unit)
    return f"{digits(value / factor, significant)} {text}".strip()


def show_interval(low: float, high: float, unit: Unit, like: float) -> str:
    """'[20.9, 21.8] GB/s' in the scale that `like` is shown in."""
    factor, text = scale_of(like, unit)
    return f"[{digits(low / factor)}, {digits(high / factor)}] {text}".strip()


def show_size(size: float) -> str:
    """A message or buffer size in powers of two: '1 KiB', '16 MiB', '1.5 GiB'."""
    factor, text = next(((f, t) for f, t in _BINARY if size >= f), _BINARY[-1])
    return f"{size / factor:.4g} {text}"


def parse_size(text: str) -> int:
    """Bytes from '16MiB', '4KB', '1.5 GiB' or '4096'. Raises ValueError naming what is accepted."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?i?b?)\s*", text, re.IGNORECASE)
    suffix = match.group(2).lower() if match else None
    if suffix in ("k", "m", "g", "t"):
        suffix += "ib"
    if match is None or suffix not in _SUFFIX:
        raise ValueError(f"'{text}' is no size: write 4096, 4KB (10^3) or 4KiB (2^10), up to TiB")
    size = float(match.group(1)) * _SUFFIX[suffix]
    if size < 1 or not size.is_integer():  # infinite for a number of hundreds of digits
        raise ValueError(f"'{text}' is not a whole, positive number of bytes")
    return int(size)


_DURATION = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds from '90', '90s', '10m' or '1.5h'. Raises ValueError naming what is accepted."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if match is None or match.group(2).lower() not in _DURATION:
        raise ValueError(f"'{text}' is no duration: write 90s, 10m or 1.5h")
    seconds = float(match.group(1)) * _DURATION[match.group(2).lower()]
    if seconds <= 0 or not math.isfinite(seconds):
        raise ValueError(f"'{text}' is not positive and finite: write 90s, 10m or 1.5h")
    return seconds


def show_duration(seconds: float) -> str:
    """A wait as a person says it: '8 s', '3 min 20 s', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
