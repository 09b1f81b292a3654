"""Fenced blocks of a Markdown page, each with the comment that stands before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """mark: the comment's text, '' without one. line: of the opening fence."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(page, line, match["language"], match["mark"] or "", match["text"]))
    return found


def files(page: Path) -> dict[str, str]:
    """Files that the page shows whole, by name: blocks marked 'file: NAME'."""
    shown = [block for block in blocks(page) if block.mark.startswith("file: ")]
    return {block.mark.removeprefix("file: "): block.text for block in shown}


def commands(block: Block) -> list[str]:
    """Lines of a shell block, joined where they continue."""
    joined = block.text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
