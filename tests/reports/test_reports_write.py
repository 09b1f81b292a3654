"""Files of a report, and its short form."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import reports_synthetic as synthetic

from harness.errors import CannotRun, UsageError
from harness.store import Run
from reports import markdown
from reports.model import Document
from reports.write import write


@pytest.fixture(scope="module")
def run() -> Run:
    whole = synthetic.local(sizes=[1024, 65536])
    kept = tuple(r for r in whole.records if "all_reduce" in r.benchmark)
    return Run(whole.path, whole.info, kept, whole.provenance, ())


def test_files_are_written_and_nothing_else(run: Run, tmp_path: Path) -> None:
    written = write([run], ["pdf", "html", "md"], tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["report.html", "report.pdf", "report.md"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(p.name for p in written)
    assert (tmp_path / "new" / "folder" / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("formats", [["docx"], [], ["html", "odt"]])
def test_unknown_formats_are_refused_before_anything_is_written(run: Run, tmp_path: Path, formats: list[str]) -> None:
    with pytest.raises(UsageError, match="accepted are html, pdf, md"):
        write([run], formats, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot create"):
        write([run], ["md"], tmp_path / "file" / "folder")


def test_html_is_written_where_the_pdf_cannot_be(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(CannotRun, match=r"apt-get install libpango.*Written all the same: .*report\.html"):
        write([run], ["html", "pdf"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_markdown_has_headline_and_skips(node: Document, simulated: Document) -> None:
    text = markdown.render(node)
    assert text.startswith("# AMD Instinct MI300X, 8 per node\n")
    assert "| all-reduce | float32 | 310\u00a0GB/s |" in text or "| all-reduce | float32 | 31" in text
    assert "e4m3fnuz" in text
    assert len(text) < 9000
    assert "> **Modelled, not measured.**" in markdown.render(simulated)


def test_rows_of_a_markdown_table_have_its_columns(node: Document) -> None:
    lines = markdown.render(node).splitlines()
    rule = next(line for line in lines if line.startswith("| ---"))
    table = lines[lines.index(rule) - 1 :]
    table = table[: table.index("")]
    assert {line.replace("\\|", "").count("|") for line in table} == {rule.count("|")}
