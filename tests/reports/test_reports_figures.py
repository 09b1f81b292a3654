"""Figures: deterministic SVG that parses, with labels that never overlap."""

from __future__ import annotations

import itertools
import subprocess
import sys
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from reports_synthetic import local

from harness.records import Cadence
from harness.summary import cells
from reports.figures.axes import Line, spread
from reports.figures.panels import Look, Panel, alike, panels
from reports.model import Document, Picture
from reports.reading import curves, dtype_of, figures_of, size_of
from reports.titles import DTYPES

GAP, HIGH = 3.0, 40.0


def pictures(document: Document) -> list[Picture]:
    return [picture for part in document.parts for chapter in part.chapters for picture in chapter.pictures]


@given(st.lists(st.floats(-5, 45), min_size=1, max_size=12).map(sorted))
def test_labels_keep_their_distance_order_and_bounds(wanted: list[float]) -> None:
    placed = spread(wanted, GAP, 0, HIGH)
    assert all(b - a >= GAP - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[0] >= -1e-9
    assert placed[-1] <= max(HIGH, GAP * (len(wanted) - 1)) + 1e-9


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread([5, 15, 30], GAP, 0, HIGH) == [5, 15, 30]


def test_every_figure_is_xml_of_its_own_with_a_title(document: Document) -> None:
    seen: set[str] = set()
    assert pictures(document)
    for picture in pictures(document):
        root = ET.fromstring(picture.svg)
        title = root.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text == picture.alt
        identifiers = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(set(identifiers)) == len(identifiers)
        assert not seen & set(identifiers)
        seen |= {identifier for identifier in identifiers if identifier}
        assert all(identifier.startswith(f"{picture.identifier}-") for identifier in identifiers if identifier)
        references = [v[1:] for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert set(references) <= set(identifiers)
        assert "<text" not in picture.svg  # outlines: no font can change the layout


def test_alternative_texts_say_the_numbers(node: Document) -> None:
    alt = next(p.alt for p in pictures(node) if "busbw" in p.identifier)
    assert "all-reduce: float32, isolated: " in alt
    assert "1 KiB" in alt
    assert "256 MiB" in alt


def test_the_same_data_gives_the_same_bytes() -> None:
    first, second = (_draw() for _ in range(2))
    assert first == second


def _draw(lines: tuple[Line, ...] = ()) -> str:
    """All-reduce of up to 64 KiB, which reaches about 1 GB/s."""
    found = [cell for cell in cells(local(sizes=[1024, 65536]).records) if cell.benchmark == "collectives.all_reduce"]
    shown = [Panel("all-reduce <b>", tuple(curves(figures_of(found, "busbw"), dtype_of, size_of)), lines)]
    return panels("x", 'alt "quoted" <b> \\1', shown, Look("bus bandwidth", "message size", DTYPES))


def test_a_title_cannot_break_out() -> None:
    root = ET.fromstring(_draw())
    assert root[0].text == 'alt "quoted" <b> \\1'


def test_a_peak_far_above_the_data_is_named_and_does_not_squash_it() -> None:
    near, far = _draw((Line(1.1e9, "peak"),)), _draw((Line(1e15, "peak"),))
    assert near != far
    assert far.count("stroke-dasharray") < near.count("stroke-dasharray")


def test_one_size_and_one_cadence_can_be_drawn() -> None:
    found = [cell for cell in cells(local(sizes=[4096]).records) if cell.benchmark == "collectives.broadcast"]
    lines = curves(figures_of(found, "busbw", Cadence.ISOLATED), dtype_of, size_of)
    assert alike([Panel("one", tuple(lines))])
    ET.fromstring(panels("one", "alt", [Panel("one", tuple(lines))], Look("rate", "size", DTYPES)))


def test_pyplot_is_never_imported() -> None:
    program = (
        "import sys; from pathlib import Path; import reports.chapters, reports.figures.distributions;"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
