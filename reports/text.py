"""Text from outside (definitions, logs, device names, reasons) made safe to show anywhere.

Markup is escaped where it is rendered (Jinja2, the Markdown writer). What is done here is what no
escaping does: control characters, terminal escapes, bidi overrides and invisible characters are
written out, so that nothing that a reader sees can be other than what is stored.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 600  # characters of one text; a log pasted into a reason is cut, and says so

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SPACE = re.compile(r"\s+")
_PLOTTED = re.compile(  # all but what templates/bench-sans-*.otf have
    r"[^ -~\u00a0-\u00ac\u00ae-\u0148\u014a-\u017f\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c9"
    r"\u2010-\u2015\u2018-\u201e\u2020-\u2022\u2026\u2190-\u2193\u2212\u2248\u2264\u2265]"
)


def clean(text: object, longest: int = LONGEST) -> str:
    """`text` on one line, with every hidden character written as its code point: `\\u{202e}`."""
    line = _SPACE.sub(" ", str(text)).strip()
    shown = "".join(_visible(character) for character in line[: longest + 1])
    return shown if len(line) <= longest else f"{shown[:longest]}… ({len(line)} characters)"


def _visible(character: str) -> str:
    if character == "\xad" or unicodedata.category(character) in _HIDDEN:
        return f"\\u{{{ord(character):x}}}"
    return character


def plotted(text: object, longest: int = 40) -> str:
    """`text` for a figure: only characters that its font has, others as '?'."""
    line = _PLOTTED.sub("?", clean(text, 1000))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def counted(number: int, singular: str, plural: str = "") -> str:
    """'1 cell', '12 cells', '1,024 ranks'."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(words: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop; nothing else is changed."""
    text = text if text.startswith("n/a") else text[:1].upper() + text[1:]
    return text if text.endswith((".", "?")) or not text else f"{text}."


def anchor(text: str) -> str:
    """`text` as an identifier: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def spoken(name: str) -> str:
    """A name of code as people write it: all_reduce is all-reduce."""
    return clean(name).replace("_", "-")
