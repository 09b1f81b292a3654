"""What the kinds make of a log, and what they are expected to make of it.

`python tests/collectors/collected.py FILE...` writes FILE.expected.jsonl beside each file. Hold it against the file by
eye before it is committed: it is what the tests believe.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from collectors import kinds
from collectors.parser import Found
from collectors.reading import Heard, read

LOGS = Path(__file__).resolve().parents[1] / "fixtures" / "logs"


def golden() -> list[Path]:
    """Every golden file: tests/fixtures/logs/KIND/CASE, with CASE.expected.jsonl beside it."""
    return sorted(path for path in LOGS.glob("*/*") if not path.name.endswith(".expected.jsonl"))


def collected(data: bytes, kind: str | None = None) -> tuple[list[Found], Heard]:
    """What a file of these bytes gives."""
    held: list[Found] = []

    def take(kind: str, stream: str, found: Found) -> bool:
        held.append(found)
        return True

    with tempfile.NamedTemporaryFile(suffix=".log") as file:
        file.write(data)
        file.flush()
        return held, read(file.name, kinds.chosen(kind), take, forced=kind is not None)


def plain(found: Found) -> dict[str, Any]:
    """A record as the expectation holds it."""
    return {
        "benchmark": found.benchmark,
        "params": found.params,
        "values": {one.metric: [*one.samples] for one in found.measurements},
        **({"failed": found.failed} if found.failed else {}),
        **({"contradictions": len(found.contradictions)} if found.contradictions else {}),
    }


def expected(path: Path) -> list[dict[str, Any]]:
    lines = path.with_name(f"{path.name}.expected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        given = Path(name)
        records, heard = collected(given.read_bytes())
        text = "".join(json.dumps(plain(one)) + "\n" for one in records)
        given.with_name(f"{given.name}.expected.jsonl").write_text(text)
        print(f"{given}: {heard.kinds}, {heard.unread} unread, {heard.warnings}")
