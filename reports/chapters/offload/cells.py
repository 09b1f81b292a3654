"""How cells of `offload.training` are named, and where their figures are found."""

from __future__ import annotations

from harness.records import Params
from harness.summary import Cell, Figure
from reports.model import Text
from reports.numbers import percent, shown
from reports.text import clean

NONE = Text("–", tone="muted")
AHEAD = ("optimizer", "parameters")
TIERS = ("none", "cpu", "nvme")
WORDS = {"cpu": "host", "nvme": "NVMe", "none": "–"}


def short(params: Params) -> str:
    """'stage 3, NVMe + host', the optimizer's tier before the parameters'; 'stage 3' where nothing is offloaded."""
    tiers = [WORDS.get(str(params.get(what)), "–") for what in AHEAD]
    return f"stage {params.get('stage')}" + (f", {' + '.join(tiers)}" if set(tiers) != {"–"} else "")


def setting(params: Params) -> str:
    """What is trained, in words; what cells of one table share."""
    ranks = params.get("processes", 1)
    return (
        f"{clean(str(params.get('model', '')).rpartition('/')[2])} of {params.get('layers')} layers, "
        f"{clean(params.get('dtype', ''))}, {params.get('sequence')} tokens, batch {params.get('batch')}, "
        f"{ranks} rank{'' if ranks == 1 else 's'}"
    )


def among(cell: Cell, name: str, **own: str) -> Figure | None:
    """The figure of that name that the cell sets apart by `own`."""
    fits_ = (f for f in cell.figures if f.name == name and all(f.own.get(key) == value for key, value in own.items()))
    return next(fits_, None)


def number(figure: Figure | None) -> Text:
    """A figure, its interval below."""
    if figure is None:
        return NONE
    found = shown(figure.interval, figure.unit)
    return Text(found.text, found.interval if figure.interval.width else "")


def share(figure: Figure | None) -> Text:
    """A ratio in percent, its interval below."""
    if figure is None:
        return NONE
    low, high = (f"{100 * end:.0f}" for end in (figure.interval.low, figure.interval.high))
    return Text(percent(figure.interval.value), f"[{low}, {high}]" if figure.interval.width else "")
