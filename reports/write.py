"""Report files: each whole or not there at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import CannotRun, UsageError
from harness.files import write_atomically
from harness.store import Run
from reports.document import build
from reports.model import Document
from reports.subject import Model

FORMATS = ("html", "pdf", "md")


def write(
    runs: Sequence[Run], formats: Sequence[str], folder: Path, models: Sequence[tuple[Model, ...]] = ()
) -> list[Path]:
    """report.html, report.pdf and report.md of the runs under `folder`, in the order of FORMATS.

    UsageError for an unknown format or a folder that cannot be made. Where the PDF cannot be
    written, the others are all the same; CannotRun then names them.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        raise UsageError(f"no format {', '.join(wrong) or 'named'}: accepted are {', '.join(FORMATS)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {folder}: {error.strerror}. Name a writable folder.") from error
    document, written = build(runs, models), list[Path]()
    for name in sorted(set(formats), key=("html", "md", "pdf").index):  # the PDF, which may fail, is last
        try:
            data = _RENDERERS[name](document)
        except CannotRun as error:
            done = f" Written all the same: {', '.join(str(path) for path in written)}." if written else ""
            raise CannotRun(f"{error}{done}") from error
        path = folder / f"report.{name}"
        write_atomically(path, data)
        written.append(path)
    return sorted(written, key=lambda path: FORMATS.index(path.suffix[1:]))


def _html(document: Document) -> bytes:
    from reports import html

    return html.render(document).encode()


def _pdf(document: Document) -> bytes:
    from reports import pdf

    return pdf.render(document)


def _markdown(document: Document) -> bytes:
    from reports import markdown

    return markdown.render(document).encode()


_RENDERERS: dict[str, Callable[[Document], bytes]] = {"html": _html, "pdf": _pdf, "md": _markdown}
