"""JSON values in a log: one a line, or over many lines, with other text around, or broken off at the end.

A value is recognised by how it begins. Its lines are held until its brackets are closed; where they are not, what
was whole of it is handed out, and what turns out to be no JSON is given back as lines.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

LARGEST = 64 * 2**20  # characters of one value
_BEGIN = re.compile(r'\s*(?:\{\s*(?:"|\}|$)|\[\s*(?:[\[{"\]]|$))')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|"')
NOTHING = object()
"""No value: JSON's null is one."""


def begins(text: str) -> bool:
    return _BEGIN.match(text) is not None


@dataclass
class Document:
    """Lines of a value that is not closed yet. first: number of the first."""

    first: int
    held: list[tuple[int, str]] = field(default_factory=list)
    depth: int = 0
    size: int = 0
    broken: bool = False  # it cannot become a value
    torn: bool = False  # its last line ends within a text, so that no line may follow

    def add(self, text: str, line: int) -> bool:
        """Take a line; True where the value is closed with it, or cannot be one."""
        self.held.append((line, text))
        self.size += len(text)
        tokens = _TOKEN.findall(text)
        for token in tokens:
            if token in "[{":
                self.depth += 1
            elif token in "]}":
                self.depth -= 1
        self.broken = self.torn or self.depth < 0 or self.size > LARGEST
        self.torn = '"' in tokens
        return self.broken or (self.depth == 0 and not self.torn)

    def value(self) -> object:
        """The value; NOTHING where it is none."""
        try:
            return json.loads("\n".join(text for _, text in self.held), parse_constant=_constant)
        except (ValueError, RecursionError):
            return NOTHING

    def whole(self) -> object:
        """What is whole of a value that broke off: its last member that was closed by a comma or a bracket, and all
        before. NOTHING where there is none."""
        text = "\n".join(text for _, text in self.held)
        stack: list[str] = []
        end, closing = 0, ""
        for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', text):
            token = found[0]
            if token in "[{":
                stack.append("]" if token == "[" else "}")
            elif token in "]}":
                if not stack or stack.pop() != token:
                    break
            elif token != ",":
                continue
            end, closing = found.start() if token == "," else found.end(), "".join(reversed(stack))
        try:
            return json.loads(text[:end] + closing, parse_constant=_constant)
        except (ValueError, RecursionError):
            return NOTHING


def _constant(name: str) -> None:
    """NaN and Infinity, which JSON does not have: no number."""
