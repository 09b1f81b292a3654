"""nccl-tests and rccl-tests, the vendors' own benchmarks of collectives: their output, and the programs.

`read` takes what either of them leaves: the table that they print, with whatever launchers, ranks and
NCCL itself print in between (`printed`), or their JSON (`documents`). `programs` finds and starts them.
"""

from __future__ import annotations

import re

from clusters.nccl_tests.rows import Log
from harness.errors import UsageError

_JSON = re.compile(r"\s*(?:\{|\[\s*[{\]])")  # not '[1,0]<stdout>:', which mpirun puts before a line

ACCEPTED = (
    "accepted is what nccl-tests or rccl-tests print (a header line `size count type ... time algbw busbw`, then a "
    "line for each size), or the JSON of nccl-tests -J or rccl-tests -Z json"
)


def read(text: str, name: str) -> Log:
    """All tables in the text of a file called `name`; UsageError where there is not one whole line."""
    from clusters.nccl_tests import documents, printed

    if _JSON.match(text):
        return documents.read(text, name)
    log = printed.read(text)
    if not log.tables:
        raise UsageError(f"{name}: no table in its {len(text.splitlines())} line(s); {ACCEPTED}")
    if not any(table.rows for table in log.tables):
        line, said = log.tables[0].line, "".join(f"\n  {warning}" for warning in log.warnings)
        raise UsageError(f"{name}: line {line}: the table that begins here has no whole line; {ACCEPTED}{said}")
    return log
