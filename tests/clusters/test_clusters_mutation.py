"""Whatever happens to a definition, it loads or is refused as a user error; nothing else comes out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from clusters_lab import VALID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusters import definition
from harness.errors import UsageError
from harness.hardware import Cluster
from harness.provenance import digest
from harness.units import Unit


def read(path: Path) -> Cluster | str:
    """The definition, or what the user is told; any other exception passes through."""
    try:
        return definition.validate(path)
    except UsageError as error:
        return str(error)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside nested tables and arrays."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


PLACES = list(places(tomllib.loads(VALID)))
JUNK = st.one_of(
    st.none(),  # take the value away
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20),
    st.sampled_from([unit.value for unit in Unit] + ["nvidia", "cuda", "switched", "sheet", 10**400, 1e308]),
    st.dates(),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(0, 3), max_size=2),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations=st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
def test_any_mutation_loads_or_is_a_usage_error(tmp_path: Path, mutations: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = tomllib.loads(VALID)
    for at, junk in mutations:
        place(document, at, junk)
    file = tmp_path / "mutated.toml"
    file.write_text(tomli_w.dumps(document))
    cluster = read(file)
    if isinstance(cluster, str):
        assert str(file) in cluster
        return
    assert msgspec.convert(msgspec.to_builtins(cluster), Cluster) == cluster
    assert digest(cluster)


def place(document: Any, at: tuple[Any, ...], value: Any) -> None:
    """Put a value at a path, or take it away (None); a path that an earlier mutation broke is left."""
    try:
        for key in at[:-1]:
            document = document[key]
        if value is None:
            del document[at[-1]]
        elif not isinstance(document, str):
            document[at[-1]] = value
    except (KeyError, IndexError, TypeError):
        return


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_or_flipped_byte_loads_or_is_a_usage_error(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(VALID.encode())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "flipped.toml"
    file.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    cluster = read(file)
    assert str(file) in cluster if isinstance(cluster, str) else cluster.nodes >= 1
