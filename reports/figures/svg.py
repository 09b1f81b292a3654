"""A figure as SVG text that can stand inside a page: deterministic, accessible, of fluid width."""

from __future__ import annotations

import html
import io
import re

from matplotlib.figure import Figure

_WRAPPING = re.compile(r"<\?xml.*?<svg ", re.DOTALL)
_UNSEEN = re.compile(r"\s*<metadata>.*?</metadata>|\s*<!--.*?-->", re.DOTALL)
_HEAD = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', re.DOTALL)
_IDENTIFIER = re.compile(r'\b(id="|xlink:href="#|url\(#)')
_LONG = re.compile(r"(?<=[ \"\n])(-?\d+\.\d\d)\d+(?=[ \"\n])")


def svg(figure: Figure, identifier: str, alt: str) -> str:
    """SVG of the figure. Identifiers in it start with `identifier`, so that figures can share a page.

    No date is written, and coordinates have two decimals of a point: the same data gives the same
    bytes, and no more of them than can be seen.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = _UNSEEN.sub("", _WRAPPING.sub("<svg ", buffer.getvalue(), count=1))
    text = _LONG.sub(r"\1", _IDENTIFIER.sub(rf"\1{identifier}-", text))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="\\1" role="img" '
        f'aria-labelledby="{identifier}-title">'
    )
    title = f'<title id="{identifier}-title">{html.escape(alt)}</title>'
    return re.sub(r"\s*\n\s*", "\n", _HEAD.sub(head + title.replace("\\", r"\\"), text, count=1)).strip()
