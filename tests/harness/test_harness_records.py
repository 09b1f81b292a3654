"""Records as they are written and read: nothing lost, nothing unknown let through."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import (
    SCHEMA,
    Better,
    Cadence,
    Evidence,
    Failed,
    Incomplete,
    Measurement,
    Ok,
    Origin,
    Outcome,
    Rate,
    Record,
    Skipped,
    cell_name,
)
from harness.units import Unit

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(max_size=20)
outcomes = st.sampled_from([Ok(), Skipped("a"), Failed("b"), Incomplete("c", (1, 3))])


@given(
    st.dictionaries(st.text(max_size=10), scalars, max_size=4),
    outcomes,
    st.lists(st.floats(0, 1e300), max_size=20),
    st.sampled_from(Origin),
)
def test_a_record_survives_the_disk(
    params: dict[str, str | int | float | bool | None], outcome: Outcome, samples: list[float], origin: Origin
) -> None:
    measurement = Measurement(
        "time.isolated", Unit.SECOND, Better.LOWER, tuple(samples), origin, Cadence.ISOLATED,
        (Rate("busbw", 1.5, Unit.BYTE_PER_SECOND),), Evidence(warmup=3, rank_medians=(1.0, 2.0), flags=("µ",)),
    )  # fmt: skip
    record = Record(SCHEMA, "a.b", 2, params, 1, outcome, (measurement,), {"clock": (1.0, 2.0, 3.0)}, "id", 0.5)
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


def test_the_schema_is_always_written() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Record(SCHEMA, "a", 1, {}, 1, Ok())))["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema":1,"benchmark":"a","version":1,"params":{},"launch":1,"outcome":{"status":"ok"},"new":1}', "new"),
        ('{"benchmark":"a","version":1,"params":{},"launch":1,"outcome":{"status":"ok"}}', "schema"),
        ('{"schema":1,"benchmark":"a","version":1,"params":{},"launch":1,"outcome":{"status":"maybe"}}', "maybe"),
        ('{"schema":1,"benchmark":"a","version":1,"params":{"x":[1]},"launch":1,"outcome":{"status":"ok"}}', "params"),
        ('{"schema":1,"benchmark":"a","version":1,"params":{},"launch":1,"outcome":{"status":"skipped"}}', "reason"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.json.decode(text, type=Record)


def test_records_do_not_change() -> None:
    record = Record(SCHEMA, "a", 1, {}, 1, Ok())
    with pytest.raises(AttributeError):
        record.launch = 2


def test_a_cell_is_named_the_same_whatever_the_order_of_its_parameters() -> None:
    assert cell_name("gemm.square", {"m": 1024, "dtype": "float32"}) == "gemm.square dtype=float32 m=1024"
    assert cell_name("gemm.square", {"dtype": "float32", "m": 1024}) == "gemm.square dtype=float32 m=1024"
    assert cell_name("memory.probe", {}) == "memory.probe"
