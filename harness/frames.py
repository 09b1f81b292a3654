"""A folder of runs as one table: DuckDB reads the lines in place, a pandas frame comes out.

For notebooks and for queries over a history; nothing is loaded that was not asked for. Statistics
stay in `harness.statistics`: the frame holds raw samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.store import RECORDS_FILE

if TYPE_CHECKING:
    import pandas

# Every field is taken out of the line's text by name, so that runs with different parameters fit in
# one table; a line that was cut off is passed over, as the store's own reader does.
_QUERY = """
WITH lines AS (
    SELECT parse_path(filename)[-2] AS run, json
    FROM read_json_objects(?, format = 'newline_delimited', ignore_errors = true, filename = true)
    WHERE json->>'type' = 'record'
), records AS (
    SELECT run, json->'record' AS record, unnest(from_json(json->'record'->'measurements', '["JSON"]')) AS measurement
    FROM lines
)
SELECT
    run,
    record->>'benchmark' AS benchmark,
    CAST(record->>'version' AS INTEGER) AS version,
    CAST(record->>'launch' AS INTEGER) AS launch,
    record->>'params' AS params,
    record->>'provenance' AS provenance,
    measurement->>'metric' AS metric,
    measurement->>'params' AS added,
    measurement->>'unit' AS unit,
    measurement->>'origin' AS origin,
    from_json(measurement->'samples', '["DOUBLE"]') AS samples
FROM records
ORDER BY run, benchmark, params, launch, metric
"""


def frame(folder: Path) -> pandas.DataFrame:
    """One row per measurement of every run under `folder`; `samples` is a list (s), `params` JSON text,
    `added` what a measurement adds to them.

    A cell that was visited again has a row for each visit, the later with all samples. UsageError
    where there is no run.
    """
    import duckdb

    pattern = folder / "*" / RECORDS_FILE
    if not any(folder.glob(f"*/{RECORDS_FILE}")):
        raise UsageError(f"no runs under {folder}. See `bench list runs`.")
    with duckdb.connect() as connection:
        table: pandas.DataFrame = connection.execute(_QUERY, [str(pattern)]).df()
    return table
