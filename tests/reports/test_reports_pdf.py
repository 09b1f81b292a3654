"""The PDF: the same bytes each time, a stamp on every modelled page, and a clear word where it cannot be made."""

from __future__ import annotations

import re
import sys
import zlib
from contextlib import suppress
from typing import Any

import pytest
import reports_synthetic as synthetic

from harness.errors import CannotRun
from reports import pdf
from reports.document import build
from reports.model import Document


@pytest.fixture(scope="module")
def small() -> Document:
    """A modelled run of few cells, since layout takes time."""
    run = synthetic.simulated(sizes=[1024, 1 << 20])
    kept = tuple(r for r in run.records if r.benchmark in ("collectives.all_reduce", "gemm.square"))
    return build([type(run)(run.path, run.info, kept, run.provenance, ())])


def _texts(page: Any) -> str:
    return " ".join(box.text for box in page._page_box.descendants() if hasattr(box, "text"))


def _unpacked(data: bytes) -> bytes:
    """The streams of a PDF that are compressed, one after the other."""
    parts = []
    for stream in re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL):
        with suppress(zlib.error):
            parts.append(zlib.decompress(stream))
    return b"".join(parts)


def test_rebuilding_gives_the_same_bytes(small: Document) -> None:
    assert pdf.render(small) == pdf.render(small)


def test_no_clock_is_read(small: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    data = pdf.render(small)
    assert b"/CreationDate (D:20261122184200Z)" in _unpacked(data)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert pdf.render(small) == data


def test_every_modelled_page_says_so_and_every_other_page_does_not(small: Document) -> None:
    pages = pdf._html(pdf.page(small)).render().pages
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        said = _texts(page)
        assert "Modelled, not measured" in said
        if number > 1:
            assert f"{number} / {len(pages)}" in said


def test_a_measured_report_has_no_stamp(local: Document) -> None:
    pages = pdf._html(pdf.page(local)).render().pages
    assert not [page for page in pages if "Modelled" in _texts(page)]
    assert all(len(_texts(page)) > 150 for page in pages)  # more than its head and foot


def test_contents_name_pages(local: Document) -> None:
    contents = _texts(pdf._html(pdf.page(local)).render().pages[0])
    assert re.search(r"All cells\s+[ .]+\s*\d+", contents)


def test_without_pango_the_packages_are_named(small: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(CannotRun, match=r"libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz0b"):
        pdf.render(small)
