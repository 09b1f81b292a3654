"""What ran on what."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from reports_synthetic import local

from reports import hardware
from reports.subject import Subject


def test_every_world_that_was_started_is_named_the_largest_first() -> None:
    """Cells of one device and cells of all ranks run in launches of their own."""
    run = local()
    (held,) = run.provenance.values()
    alone = msgspec.structs.replace(held, id="alone", ranks=1, threads=2, backend="none: one rank")
    both = replace(run, provenance={"alone": alone, held.id: held})
    (ranks,) = [fact.detail for fact in hardware.facts(Subject(both, "r1")) if fact.term == "Ranks"]
    assert ranks.startswith("2 ranks on 1 node")
    assert ranks.endswith("; 1 rank on 1 node, 2 threads each")
    assert "gloo" in ranks
