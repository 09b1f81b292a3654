"""The HTML file: whole, self-contained, accessible, and safe whatever the run holds."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser

import pytest
import reports_synthetic as synthetic
from msgspec import structs

from harness.records import Failed, FoundDevice, Skipped
from harness.store import Run
from reports import html, markdown, pdf
from reports.document import build
from reports.model import Document

VOID = {"meta", "col", "br", "img", "link", "hr", "input"}
EVIL = (
    "<script>alert(1)</script>\x1b[2J\u202eevil\u2066 \"'><img src=x onerror=a()> {{ 7*7 }} @all #1 https://x.example"
)


class Page(HTMLParser):
    """Collects what the tests ask about; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def hostile() -> Run:
    run = synthetic.local(sizes=[1024, 65536])
    cluster = run.info.cluster
    cluster = structs.replace(
        cluster,
        title=f"{EVIL} cluster",
        description=EVIL,
        device=structs.replace(cluster.device, name=EVIL, granularity=EVIL),
        sources={EVIL: EVIL},
    )
    info = structs.replace(run.info, cluster=cluster, command=("bench", EVIL), id=EVIL, created=EVIL)
    first, *others = run.records
    params = {**first.params, "dtype": EVIL, EVIL: EVIL}
    added = [
        structs.replace(first, params=params),
        structs.replace(first, benchmark=f"collectives.{EVIL}"),
        structs.replace(first, benchmark=f"{EVIL}.x", params={EVIL: EVIL}),
        structs.replace(first, params={**first.params, "ranks": EVIL}, notes=(EVIL,)),
        synthetic.record("gemm.square", {"dtype": EVIL, "m": 1, "n": 1, "k": 1}, Skipped(EVIL)),
        synthetic.record(EVIL, {"op": EVIL}, Failed(EVIL * 50)),
    ]
    held = next(iter(run.provenance.values()))
    device = FoundDevice(EVIL, EVIL, 0, 1 << 30, {EVIL: EVIL})
    held = structs.replace(
        held, host=EVIL, devices=(device,), versions={EVIL: EVIL}, environment={EVIL: EVIL}, backend=EVIL,
        commit=EVIL, notes=(EVIL,),
    )  # fmt: skip
    return Run(run.path, info, (first, *others, *added), {held.id: held}, (EVIL,))


@lru_cache(maxsize=1)
def evil() -> Document:
    return build([hostile()])


def test_the_file_is_well_formed_and_self_contained(document: Document) -> None:
    text = html.render(document)
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "img", "object", "base")]
    for name in ("href", "src", "xlink:href", "action", "data", "srcset"):
        assert all(value.startswith(("#", "data:")) for value in page.attributes(name))
    assert not re.search(r"url\((?!#|data:)", text)
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_links_lead_somewhere_and_identifiers_are_unique(document: Document) -> None:
    page = Page(html.render(document))
    identifiers = page.attributes("id")
    assert len(set(identifiers)) == len(identifiers)
    assert {value[1:] for value in page.attributes("href")} <= set(identifiers)
    for name in ("aria-labelledby", "aria-describedby"):
        assert set(page.attributes(name)) <= set(identifiers)


def test_headings_nest_and_tables_are_scoped(document: Document) -> None:
    page = Page(html.render(document))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert all(attributes.get("role") == "img" for tag, attributes in page.tags if tag == "svg")


def test_no_number_is_missing(document: Document) -> None:
    said = " ".join(Page(html.render(document)).text)
    assert not re.search(r"\b(nan|inf|None|undefined)\b", said)


def test_a_modelled_report_has_a_banner_that_stays(simulated: Document, node: Document) -> None:
    assert 'class="stamp"' in html.render(simulated)
    assert "modelled, not measured" in html.render(simulated).split("</title>")[0]
    assert 'class="stamp"' not in html.render(node)


def test_figures_follow_the_colour_scheme_on_a_screen_only(node: Document) -> None:
    screen, paper = html.render(node), pdf.page(node)
    assert "fill: var(--ink)" in screen
    assert "prefers-color-scheme: dark" in screen
    svg = paper[paper.index("<figure") :]
    assert "var(--" not in svg[: svg.index("</svg>")]


def test_hostile_text_is_only_text() -> None:
    text = html.render(evil())
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "alert(1)" in "".join(page.text)
    for hidden in ("\x1b", "\u202e", "\u2066"):
        assert hidden not in text
    assert "\\u{202e}" in text
    assert "{{ 7*7 }}" in text  # not evaluated
    identifiers = page.attributes("id")
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", identifier) for identifier in identifiers)


def test_hostile_text_is_only_text_on_paper() -> None:
    assert pdf.render(evil()).startswith(b"%PDF")


def test_hostile_text_is_only_text_in_markdown() -> None:
    text = markdown.render(evil())
    assert "<script" not in text.replace("\\<script", "")
    assert not re.search(r"@(?!<!-- -->)\w", text)
    assert "https://" not in text
    for hidden in ("\x1b", "\u202e", "\u2066"):
        assert hidden not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_several_runs_have_headings_and_identifiers_of_their_own(local: Document, simulated: Document) -> None:
    second = replace(simulated.parts[0], identifier="r2")
    page = Page(html.render(replace(local, title="2 runs", parts=(local.parts[0], second))))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels.count(2) == 2


@pytest.mark.parametrize("name", ["screen.css", "paper.css", "base.css"])
def test_style_sheets_close_every_brace(name: str) -> None:
    text = (html.TEMPLATES / name).read_text()
    assert text.count("{") == text.count("}")
