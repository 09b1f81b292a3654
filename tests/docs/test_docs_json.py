"""docs/json.md against the program: every key that comes out is described, every described one comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs_markdown import ROOT, files

PAGE = (ROOT / "docs/json.md").read_text()
TYPES = {
    "text": str,
    "number": (int, float),
    "whole number": int,
    "true": bool,
    "false": bool,
    "null": type(None),
}
SHARED = {"a quantity": "A quantity", "a cell": "A cell"}
Path_ = tuple[str, ...]


def section(title: str) -> dict[Path_, str]:
    """Described keys of a section: path to type. A key of a shared form is spelt out."""
    body = re.search(rf"^## `?{re.escape(title)}`?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert body, title
    found: dict[Path_, str] = {}
    for keys, kind in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", body[1], re.MULTILINE):
        for key in re.findall(r"`([^`]+)`", keys):
            path = tuple(re.findall(r"\[\]|[^.\[\]]+", key))
            if kind in SHARED:
                found |= {path + rest: inner for rest, inner in section(SHARED[kind]).items()}
            else:
                found[path] = kind
    return found


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every scalar with its path; an empty list or table is a path that ends in () itself."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from leaves(inner, (*path, "[]"))
    elif isinstance(value, (dict, list)):
        yield (*path, "()"), value
    else:
        yield path, value


def fits(path: Path_, pattern: Path_) -> bool:
    if pattern[-1:] == ("**",):
        return path[: len(pattern) - 1] == pattern[:-1]
    if path[-1:] == ("()",):  # an empty list or table stands for anything below it
        path = path[:-1]
        pattern = pattern[: len(path)]
    return len(path) == len(pattern) and all(part in ("*", found) for part, found in zip(pattern, path, strict=True))


def holds(value: Any, kind: str) -> bool:
    accepted = [TYPES[word] for word in re.split(r", | or ", kind) if word in TYPES]
    whole = isinstance(value, bool) and bool not in accepted
    return not accepted or (not whole and any(isinstance(value, one) for one in accepted))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, example_run: Path) -> Path:
    folder = tmp_path_factory.mktemp("json")
    (folder / "runs").symlink_to(example_run.parent)
    (folder / "example.toml").write_text(files(ROOT / "CONTRIBUTING.md")["example.toml"])
    return folder


COMMANDS = {
    "bench run": "bench run --only gemm.square --set m=64 --set dtype=float32,float8 --budget 2s --out other",
    "bench run --dry-run": "bench run --cluster mi300x --dry-run",
    "bench show": "bench show RUN",
    "bench list": "bench list",
    "bench doctor": "bench doctor",
    "bench report": "bench report RUN --format md --out written",
    "bench collect": f"bench collect {ROOT}/tests/fixtures/nccl_tests/two_runs.txt --out other",
    "bench fit alphabeta": f"bench fit alphabeta {ROOT}/tests/fixtures/nccl_tests/two_runs.txt",
    "bench fit cbs": f"bench fit cbs {ROOT}/tests/fixtures/critical_batch.csv",
    "bench clusters show": "bench clusters show h100",
    "bench clusters validate": "bench clusters validate example.toml",
    "bench clusters probe": "bench clusters probe",
}
RARE = {"outcome.missing", "outcome.reason", "problems", "skipped", "missing", "details"}
"""Keys that need a fault or some other machine to come out."""


@pytest.mark.parametrize("title", COMMANDS)
def test_the_document_is_as_described(title: str, place: Path, example_run: Path, shell) -> None:
    done = shell(f"{COMMANDS[title].replace('RUN', example_run.name)} --json", place)
    assert done.returncode == 0, done.stderr
    described = section(title)
    seen = list(leaves(json.loads(done.stdout)))
    for path, value in seen:
        kinds = [kind for pattern, kind in described.items() if fits(path, pattern)]
        assert kinds, f"{title}: {'.'.join(path)} is not described"
        assert path[-1] == "()" or any(holds(value, kind) for kind in kinds), f"{title}: {path} is {value!r}: {kinds}"
    silent = [pattern for pattern in described if not any(fits(path, pattern) for path, _ in seen)]
    assert not [pattern for pattern in silent if not any(word in ".".join(pattern) for word in RARE)]


def test_every_command_has_its_section(shell) -> None:
    known = set(re.findall(r"^    ([a-z]+) ", shell("bench --help", ROOT).stdout, re.MULTILINE))
    assert known == {title.split()[1] for title in COMMANDS}


def test_a_wrong_command_gives_no_document(place: Path, shell) -> None:
    done = shell("bench run --only nonsense --json", place)
    assert (done.returncode, done.stdout) == (2, "")
