"""The report as one HTML file: nothing is fetched, nothing runs, all text is escaped.

One template serves the screen and, through `reports.pdf`, the page. The typeface is inside the file;
figures take the page's colours, so that a dark screen shows them dark.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.model import Document
from reports.origins import when

TEMPLATES = Path(__file__).parent / "templates"
WEIGHTS = (400, 600)

# Colours of figures (reports.figures.style) that follow the page's colour scheme on a screen.
THEMED = {
    "#1b2733": "var(--ink)", "#5c6a79": "var(--muted)", "#dde3e9": "var(--rule)", "#ffffff": "var(--surface)",
    "#7a5c00": "var(--roof, #7a5c00)", "#0072b2": "var(--s1, #0072b2)", "#c94f00": "var(--s2, #c94f00)",
    "#00805f": "var(--s3, #00805f)", "#a8477f": "var(--s4, #a8477f)", "#946a00": "var(--s5, #946a00)",
    "#55677a": "var(--s6, #55677a)",
}  # fmt: skip


def render(document: Document) -> str:
    """The whole file as text."""
    style = "".join([_fonts(), *(_read(name) for name in ("base.css", "screen.css"))])
    return fill(document, style, themed=True)


def fill(document: Document, style: str, themed: bool) -> str:
    """The template with a style sheet. themed: figures follow the page's colours (CSS variables)."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = when
    environment.filters["drawing"] = _themed if themed else Markup  # SVG that this package made itself
    sheet = Markup(style)  # noqa: S704 (the package's own style sheets)
    return environment.get_template("report.html.j2").render(document=document, style=sheet)


def _themed(svg: str) -> Markup:
    for colour, variable in THEMED.items():
        svg = svg.replace(f": {colour}", f": {variable}")
    return Markup(svg)  # noqa: S704 (drawn by reports.figures, which escapes its texts)


@lru_cache(maxsize=8)
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _fonts() -> str:
    """The typeface as data, so that the file needs no other."""
    faces = []
    for weight in WEIGHTS:
        data = base64.b64encode((TEMPLATES / f"bench-sans-{weight}.otf").read_bytes()).decode()
        faces.append(
            f'@font-face{{font-family:"Bench Sans";font-weight:{weight};font-display:swap;'
            f"src:url(data:font/otf;base64,{data})}}"
        )
    return "".join(faces)
