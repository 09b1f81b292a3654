"""Definitions of clusters: the ones that come with the suite, and any other file of the same form.

A definition is data (definitions/*.toml, read into harness.hardware.Cluster): what a cluster is said
to be, each figure with its source. docs/clusters.md describes every key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from clusters.plausibility import implausible
from clusters.structure import problems
from harness.errors import UsageError, unknown
from harness.hardware import Cluster

FOLDER = Path(__file__).parent / "definitions"
LOCAL = "local"
"""Name of the cluster that is detected, not read."""


def names() -> list[str]:
    """Every name that `load` knows, `local` last. Reads no definition and imports nothing heavy."""
    return [*sorted(path.stem for path in FOLDER.glob("*.toml")), LOCAL]


def titles() -> dict[str, tuple[int, str]]:
    """Devices and title of every definition that comes with the suite, for a listing. They are not
    checked here (a test checks them all): that would take longer than all the rest of the listing."""
    shipped = ((path.stem, _read(path)) for path in sorted(FOLDER.glob("*.toml")))
    return {name: (data["nodes"] * data["node"]["devices"], data["title"]) for name, data in shipped}


def load(name_or_path: str) -> Cluster:
    """The cluster of that name, or the one in that file (a text that holds '/' or ends in '.toml').

    `local` looks at this machine. Raises UsageError for an unknown name or a faulty file.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return validate(Path(name_or_path))
    if name_or_path == LOCAL:
        from clusters.local import detect  # it reads definitions itself

        return detect()
    if name_or_path not in names():
        hint = "See `bench list clusters`, or name a file that ends in .toml."
        raise unknown("cluster", name_or_path, names(), hint)
    return validate(FOLDER / f"{name_or_path}.toml")


def validate(path: Path) -> Cluster:
    """The definition in a file. UsageError names the file and every key that is wrong, with what is
    accepted there; for text that is no TOML at all, line and column."""
    data = _read(path)
    found = problems(data, Cluster)
    if not found:
        cluster = _convert(path, data)
        found = implausible(cluster)
        if not found:
            return cluster
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    raise UsageError(f"{path}: {count}. docs/clusters.md describes every key.\n  " + "\n  ".join(found))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. See `bench list clusters` for names.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}: line {line} is not UTF-8 text, which TOML has to be.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise UsageError(f"{path}: no valid TOML: a value is too long or nested too deep.") from error


def _convert(path: Path, data: dict[str, Any]) -> Cluster:
    try:
        return msgspec.convert(data, type=Cluster, strict=True)
    except msgspec.ValidationError as error:  # the check before it should have named this
        raise UsageError(f"{path}: {error}. docs/clusters.md describes every key.") from error
