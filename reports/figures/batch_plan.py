"""A batch plan: wall time and rank time against the batch, a line for each number of ranks; one against the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.statistics import Interval
from reports.critical_batch_model import Choice, PlanModel
from reports.figures.axes import Ending, endings, heading, size_axis
from reports.figures.goodput import wait
from reports.figures.style import INK, SMALL, WIDTH, colour_of, place, sheet, styled
from reports.figures.svg import svg
from reports.reading import grouped
from reports.text import counted, plotted

LEFT, RIGHT, HEAD, TALL, FOOT = 12.0, 15.0, 10.5, 46.0, 6.5  # mm of a panel
ROUND = (1, 2, 5, 10, 20, 30)
TIMES = tuple(
    sorted({
        *(factor * unit for unit in (1e-3, 1e-2, 0.1, 1.0) for factor in (1, 2, 5)),
        *(factor * unit for unit in (1.0, 60.0) for factor in ROUND),
        *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
        *(86400.0 * days for days in (1, 2, 3, 7, 14, 30, 60, 120, 365, 730, 1825, 3650, 36500)),
    })
)  # fmt: skip
FEWEST, TICKS = 3, 6


def batch_plan(identifier: str, alt: str, plan: PlanModel, unit: str) -> str:
    """SVG of three panels."""
    pitch = WIDTH / 3
    order = tuple(_name(ranks) for ranks in sorted({choice.ranks for choice in plan.choices}))
    panels: tuple[tuple[str, str, Callable[[Axes, PlanModel, tuple[str, ...]], list[Ending]]], ...] = (
        ("Wall time", f"to the target, against batch ({unit})", _wall),
        ("Rank time", f"wall time × ranks, against batch ({unit})", _cost),
        ("What one buys of the other", "rank time against wall time", _pareto),
    )
    with styled():
        figure = sheet(HEAD + TALL + FOOT)
        for index, (title, said, draw) in enumerate(panels):
            left = index * pitch
            axes = place(figure, left + LEFT, HEAD, pitch - LEFT - RIGHT, TALL)
            heading(figure, left + 1, HEAD, title, said)
            endings(axes, draw(axes, plan, order))
        return svg(figure, identifier, alt)


def _name(ranks: int) -> str:
    return counted(ranks, "rank")


def _wall(axes: Axes, plan: PlanModel, order: tuple[str, ...]) -> list[Ending]:
    return _against_batch(axes, plan, order, lambda choice: choice.wall, plan.fastest)


def _cost(axes: Axes, plan: PlanModel, order: tuple[str, ...]) -> list[Ending]:
    return _against_batch(axes, plan, order, lambda choice: choice.rank_time, plan.cheapest)


def _against_batch(
    axes: Axes, plan: PlanModel, order: tuple[str, ...], of: Callable[[Choice], Interval], best: Choice
) -> list[Ending]:  # fmt: skip
    size_axis(axes, [choice.batch for choice in plan.choices], 5, binary=False)
    _times(axes, [of(choice) for choice in plan.choices])
    ends = []
    for ranks, those in grouped(plan.choices, lambda choice: choice.ranks).items():
        colour, _ = colour_of(_name(ranks), order)
        xs = [choice.batch for choice in those]
        axes.fill_between(
            xs, [of(choice).low for choice in those], [of(choice).high for choice in those],
            color=colour, alpha=0.16, linewidth=0,
        )  # fmt: skip
        axes.plot(xs, [of(choice).value for choice in those], color=colour, marker="o" if len(those) == 1 else "")
        ends.append(Ending(of(those[-1]).value, _name(ranks), colour))
    axes.plot([best.batch], [of(best).value], color=INK, marker="*", markersize=7)
    return ends


def _pareto(axes: Axes, plan: PlanModel, order: tuple[str, ...]) -> list[Ending]:
    """Every choice, those that no other beats joined by a line, the fastest and the cheapest named."""
    _times(axes, [choice.rank_time for choice in plan.choices], bands=False)
    axes.set_xscale("log")
    walls = [choice.wall.value for choice in plan.choices]
    axes.set_xlim(min(walls) / 1.3, max(walls) * 1.3)
    _ticks(axes.xaxis, *axes.get_xlim(), most=4)
    for choice in plan.choices:
        colour, _ = colour_of(_name(choice.ranks), order)
        axes.plot([choice.wall.value], [choice.rank_time.value], color=colour, marker="o", markersize=1.8, alpha=0.5)
    axes.plot(
        [choice.wall.value for choice in plan.pareto], [choice.rank_time.value for choice in plan.pareto],
        color=INK, linewidth=0.9,
    )  # fmt: skip
    for choice in plan.pareto[:: max(1, len(plan.pareto) // 8)]:
        axes.hlines(choice.rank_time.value, choice.wall.low, choice.wall.high, color=INK, linewidth=0.5, alpha=0.5)
        axes.vlines(
            choice.wall.value, choice.rank_time.low, choice.rank_time.high, color=INK, linewidth=0.5, alpha=0.5
        )  # fmt: skip
    ends = [("fastest", plan.fastest), ("cheapest", plan.cheapest)]
    if plan.fastest == plan.cheapest:
        ends = [("fastest, cheapest", plan.fastest)]
    for at, (name, choice) in enumerate(ends):
        axes.plot([choice.wall.value], [choice.rank_time.value], color=INK, marker="*", markersize=7)
        axes.annotate(
            plotted(f"{name}: {choice.batch:,.4g}"), (choice.wall.value, choice.rank_time.value),
            (4, 5 if at == 0 else -9), textcoords="offset points", fontsize=SMALL, color=INK,
        )  # fmt: skip
    return []


def _times(axes: Axes, those: Sequence[Interval], bands: bool = True) -> None:
    low = min(one.low if bands else one.value for one in those)
    high = max(one.high if bands else one.value for one in those)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.25, high * 1.25)
    _ticks(axes.yaxis, *axes.get_ylim())


def _ticks(axis: Axis, low: float, high: float, most: int = TICKS) -> None:
    """Round times; on an axis too short for them, steps of one size."""
    inside = [time for time in TIMES if low <= time <= high]
    if len(inside) < FEWEST:
        inside = [time for time in MaxNLocator(most).tick_values(low, high) if low <= time <= high]
    inside = inside[:: -(-len(inside) // most)] or [low]
    axis.set_major_locator(FixedLocator(inside))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda time, _: wait(time * (1 + 1e-9))))
