"""The map of pairs: what is drawn is what was measured, in every size, and it is said in words too."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from harness.outliers import Findings, slow_pairs
from harness.records import Cadence, Evidence, Origin
from harness.statistics import summarise
from harness.summary import Figure
from harness.units import Unit
from microbench.collectives.rounds import rounds
from reports.figures.heatmap import heatmap
from reports.figures.pairs import LARGEST, MOST, SIDE, map_of
from reports.figures.ramp import LEVELS, colours, ramp
from reports.numbers import GAP

SIZE = 1 << 20


def measured(ranks: int, per_node: int, launches: int = 1, inside: float = 400e9, between: float = 40e9,
             slow: tuple[int, int] | None = None) -> tuple[Figure, Findings]:  # fmt: skip
    """A figure as collectives.pairwise leaves it; `slow` takes half as long again."""
    pairs = sorted(pair for those in rounds(ranks, per_node) for pair in those)
    rng, samples, every = np.random.default_rng(ranks), [], []
    for _ in range(launches):
        times = np.array([SIZE / (inside if a // per_node == b // per_node else between) for a, b in pairs])
        taken = times[:, None] * rng.lognormal(0, 0.02, (len(pairs), 9))
        taken[[pair == slow for pair in pairs]] *= 1.5
        every.append(taken)
        samples.append(tuple(taken.ravel().tolist()))
    summary = summarise(samples)
    figure = Figure(
        "collectives.pairwise", {"size": SIZE, "ranks": ranks}, "time", Cadence.ISOLATED, Unit.SECOND,
        summary.interval, Origin.MEASURED, summary, (Evidence(),) * launches, tuple(samples), {}, tuple(pairs),
    )  # fmt: skip
    return figure, slow_pairs(pairs, np.concatenate(every, axis=1), per_node)


def strokes(svg: str) -> int:
    """Coloured strokes of fields: a path for each colour, a stroke for each run of equal neighbours."""
    paths = re.findall(r'<path d="((?:M[-\d.]+ [-\d.]+H[-\d.]+\s*)+)" clip-path', svg)
    return sum(path.count("M") for path in paths)


SIZES = [(2, 2), (3, 3), (8, 8), (16, 8), (64, 8), (64, 1), (128, 8), (96, 96)]


@pytest.mark.parametrize(("ranks", "per_node"), SIZES)
def test_every_size_can_be_drawn(ranks: int, per_node: int) -> None:
    svg, alt = heatmap("map", *measured(ranks, per_node), per_node)
    root = ET.fromstring(svg)
    assert root[0].text == alt
    assert "<image" not in svg
    assert "<text" not in svg
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(identifiers)) == len(identifiers)
    width, height = (float(edge) for edge in root.attrib["viewBox"].split()[2:])
    assert width == pytest.approx(174 / 25.4 * 72, rel=1e-3)
    assert height < 1.1 * width


def test_small_maps_have_a_field_for_each_direction_of_a_pair() -> None:
    svg, _ = heatmap("map", *measured(8, 8), 8)
    assert strokes(svg) == 8 * 7


def test_the_same_data_gives_the_same_bytes() -> None:
    first, second = (heatmap("map", *measured(16, 8, slow=(2, 12)), 8)[0] for _ in range(2))
    assert first == second


def test_the_page_of_a_thousand_ranks_stays_small() -> None:
    figure, _ = measured(1024, 8)
    svg, _ = heatmap("map", figure, Findings((), {}, ()), 8)
    assert len(svg) < 600_000


class TestMap:
    def test_rates_and_times_are_medians_over_all_launches(self) -> None:
        figure, _ = measured(4, 4, launches=3)
        taken = np.concatenate([np.reshape(samples, (6, 9)) for samples in figure.samples], axis=1)
        times, rates = map_of(figure, 4, latency=True), map_of(figure, 4, latency=False)
        a, b = figure.pairs[2]
        assert times.values[a, b] == times.values[b, a] == np.median(taken[2])
        assert rates.values[a, b] == pytest.approx(SIZE / np.median(taken[2]))
        assert (times.unit, rates.unit) == (Unit.SECOND, Unit.BYTE_PER_SECOND)
        assert np.isnan(rates.values.diagonal()).all()

    def test_many_ranks_become_nodes(self) -> None:
        figure, _ = measured(128, 8)
        shown = map_of(figure, 8, latency=False)
        assert (shown.n, shown.what) == (16, "node")
        assert shown.values[3, 3] == pytest.approx(400e9, rel=0.02)  # inside the node
        assert shown.values[3, 5] == shown.values[5, 3] == pytest.approx(40e9, rel=0.02)
        assert [said for said, _ in shown.kinds()] == ["inside nodes", "between nodes"]

    def test_many_ranks_of_one_node_stay_ranks(self) -> None:
        shown = map_of(measured(96, 96)[0], 96, latency=False)
        assert (shown.n, shown.what) == (96, "rank")

    @pytest.mark.parametrize(("ranks", "per_node"), [(2, 2), (16, 8), (MOST, 8), (1024, 8)])
    def test_it_fits_the_page(self, ranks: int, per_node: int) -> None:
        shown = map_of(measured(ranks, per_node)[0], per_node, latency=False)
        assert shown.side <= SIDE + 1e-9
        assert 0.5 < shown.field <= LARGEST

    def test_where_faults_are(self) -> None:
        figure, found = measured(16, 8, slow=(2, 12))
        (fault,) = found.faults
        assert map_of(figure, 8, latency=False).areas(fault) == [(2, 2, 12, 12), (12, 12, 2, 2)]
        figure, found = measured(128, 8, slow=(9, 121))
        (fault,) = found.faults
        assert map_of(figure, 8, latency=False).areas(fault) == [(1, 1, 15, 15), (15, 15, 1, 1)]


class TestWords:
    def test_ranges_by_kind_and_what_is_slow(self) -> None:
        _, alt = heatmap("map", *measured(16, 8, slow=(2, 12)), 8)
        assert "16 ranks, bandwidth" in alt
        assert "inside nodes from " in alt
        assert f"median 400{GAP}GB/s" in alt or f"median 399{GAP}GB/s" in alt or f"median 401{GAP}GB/s" in alt
        assert re.search(rf"Slow: pair 2–12 takes (4[5-9]|5[0-5]){GAP}% longer\.", alt)

    def test_a_node_map_says_which_nodes(self) -> None:
        assert "pair 9–121 (nodes 1 and 15) takes" in heatmap("map", *measured(128, 8, slow=(9, 121)), 8)[1]

    def test_nothing(self) -> None:
        assert heatmap("map", *measured(8, 8), 8)[1].endswith("Nothing stands out.")

    def test_latency(self) -> None:
        assert "time of a swap" in heatmap("map", *measured(8, 8), 8, latency=True)[1]

    def test_frames_are_drawn_for_what_is_slow(self) -> None:
        figure, found = measured(8, 8, slow=(1, 4))
        framed, plain = (heatmap("map", figure, faults, 8)[0] for faults in (found, Findings((), {}, ())))
        assert framed.count("#c94f00") > plain.count("#c94f00") == 0


class TestRamp:
    @pytest.mark.parametrize("hue", ["blue", "green"])
    def test_lightness_falls_in_order(self, hue: str) -> None:
        """Relative luminance (WCAG 2.2): order must survive the loss of all colour."""
        shades = [[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in colours(hue)]
        linear = np.where(
            np.array(shades) <= 0.04045, np.array(shades) / 12.92, ((np.array(shades) + 0.055) / 1.055) ** 2.4
        )
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        assert len(luminance) == LEVELS
        assert (np.diff(luminance) < 0).all()
        assert luminance[0] > 0.75
        assert luminance[-1] < 0.12

    def test_ends_are_the_data_s_and_noise_is_not_blown_up(self) -> None:
        wide, narrow = ramp(np.array([60.0, 90.0, 100.0]), "blue"), ramp(np.array([99.0, 100.0]), "blue")
        assert (wide.low, wide.high, wide.below, wide.above) == (60.0, 100.0, False, False)
        assert (narrow.low, narrow.high) == (80.0, 100.0)

    def test_an_end_beyond_which_values_lie_says_so(self) -> None:
        slow = ramp(np.array([1.0, 100.0, 101.0, 102.0]), "blue")
        assert slow.below
        assert slow.low == pytest.approx(50.25)
        assert slow.levels(np.array([1.0, 60.0, 102.0])).tolist()[::2] == [0, LEVELS - 1]
