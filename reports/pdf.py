"""The report as a PDF (A4), from the same template, through WeasyPrint.

The same document gives the same bytes: dates and identifier come from the runs, never from the
clock. WeasyPrint needs the Pango library of the operating system.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from harness.errors import CannotRun
from reports.html import TEMPLATES, fill
from reports.model import Document

PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz0b"


def render(document: Document) -> bytes:
    """The PDF. CannotRun where WeasyPrint or a library that it needs is missing."""
    text = page(document)
    identifier = hashlib.sha256(text.encode()).digest()[:16]
    with _clock(document.created):
        data = _html(text).write_pdf(pdf_identifier=identifier)
    assert isinstance(data, bytes)
    return data


def page(document: Document) -> str:
    """The HTML that is laid out on paper."""
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("base.css", "paper.css"))
    return fill(document, style, themed=False)


def _html(text: str) -> Any:  # noqa: ANN401 (weasyprint.HTML, which has no types)
    try:
        from weasyprint import HTML
    except (ImportError, OSError) as error:
        raise CannotRun(
            f"no PDF: WeasyPrint cannot start ({str(error).splitlines()[0]}). On Debian: apt-get install {PACKAGES}. "
            "HTML and Markdown need none of this: --format html."
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of CSS that is for browsers
    return HTML(string=text, base_url=f"{TEMPLATES.as_uri()}/")


@contextmanager
def _clock(created: str) -> Iterator[None]:
    """Let embedded fonts be dated by the runs (SOURCE_DATE_EPOCH), as long as the PDF is written."""
    held = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(_seconds(created))
    try:
        yield
    finally:
        del os.environ["SOURCE_DATE_EPOCH"]
        if held is not None:
            os.environ["SOURCE_DATE_EPOCH"] = held


def _seconds(created: str) -> int:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return 0
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
