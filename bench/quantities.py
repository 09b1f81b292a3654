"""Estimated quantities as the machine reads them: always value, low, high, unit, origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.records import cell_name
from harness.summary import Cell, Figure


def quantity(figure: Figure) -> dict[str, Any]:
    known = figure.interval
    return {
        "value": known.value,
        "low": known.low,
        "high": known.high,
        "unit": figure.unit.value,
        "origin": figure.origin.value,
    }


def metric(figure: Figure) -> str:
    """busbw.isolated: the figure's name with its cadence."""
    return f"{figure.name}.{figure.cadence.value}" if figure.cadence else figure.name


def key(figure: Figure) -> str:
    """The metric, and what sets the figure apart from others of its cell."""
    return cell_name(metric(figure), figure.own)


def described(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Cells with outcome and quantities, for --json."""
    return [
        {
            "benchmark": cell.benchmark,
            "version": cell.version,
            "params": cell.params,
            "outcome": msgspec.to_builtins(cell.outcome),
            "launches": len(cell.outcomes),
            "quantities": {
                key(figure): quantity(figure)
                | {"n": figure.summary.n, "across_launches": figure.summary.across_launches}
                for figure in cell.figures
            },
        }
        for cell in cells
    ]
