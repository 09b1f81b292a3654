"""The pages say what is so: every command runs, every link leads somewhere, every name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from docs_markdown import PAGES, ROOT, Block, blocks, commands, files

SHELL = [block for page in PAGES for block in blocks(page) if block.language in ("sh", "console", "bash")]
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory, example_run: Path) -> Path:
    """A folder with the pages' own files in it, and a copy of a run where RUN stands."""
    folder = tmp_path_factory.mktemp("pages")
    for page in PAGES:
        for name, text in files(page).items():
            (folder / name).write_text(text)
    shutil.copytree(example_run, folder / "runs" / "RUN")
    return folder


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.label)
def test_commands_of_the_pages_run(block: Block, workdir: Path, shell, plugin_path: str) -> None:
    if block.mark.startswith("not run: "):
        syntax = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
        assert syntax.returncode == 0, syntax.stderr
        return
    for command in commands(block):
        line = re.sub(r"\bRUN\b", "runs/RUN", command)
        if block.mark == "dry-run":
            line += " --dry-run"
        done = shell(line, workdir, PYTHONPATH=plugin_path)
        assert done.returncode == 0, f"{block.label}: {line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block.label}: {line}\n{done.stderr}"


@pytest.fixture(scope="module")
def plugin_path(tmp_path_factory: pytest.TempPathFactory, shell) -> str:
    """CONTRIBUTING's plugin, installed into a folder of its own as its pyproject.toml says."""
    folder = tmp_path_factory.mktemp("plugin")
    for name, text in files(ROOT / "CONTRIBUTING.md").items():
        (folder / name).write_text(text)
    done = shell("python -m pip install --no-build-isolation --no-deps --target site .", folder)
    assert done.returncode == 0, done.stderr
    return str(folder / "site")


def test_marks_are_known_and_what_is_not_run_has_a_reason() -> None:
    marks = {block.mark for page in PAGES for block in blocks(page)}
    assert not [mark for mark in marks if mark and not re.fullmatch(r"dry-run|not run: .{10,}|file: [\w.]+", mark)]
    assert sum(not block.mark for block in SHELL) >= 5, "nearly every block is run"


def test_the_example_benchmark_measures_and_refuses(workdir: Path, shell, plugin_path: str) -> None:
    run = "bench run --only vector.dot --no-report --budget 3s"
    done = shell(f"{run} --set size=64KiB --json", workdir, PYTHONPATH=plugin_path)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["outcome"] == {"status": "ok"}
    assert record["quantities"]["bandwidth.isolated"]["value"] > 0
    refused = shell(f"{run} --set size=63", workdir, PYTHONPATH=plugin_path)
    assert refused.returncode == 2
    assert "63 B is no whole number" in refused.stderr


def test_the_example_benchmark_passes_the_gates(tmp_path: Path, shell) -> None:
    (tmp_path / "bench_dot.py").write_text(files(ROOT / "CONTRIBUTING.md")["bench_dot.py"])
    settings = f"--config {ROOT / 'pyproject.toml'} --no-cache"
    done = shell(f"ruff check {settings} bench_dot.py && ruff format --check {settings} bench_dot.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_every_file_that_a_page_names_exists() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"`((?:\w+/)+[\w.*/-]+\.(?:py|sh|toml|txt|md))`", page.read_text())
    }
    assert "harness/records.py" in named
    assert not [name for name in named if not any(ROOT.glob(name)) and not name.startswith("runs/")]


def test_the_readme_names_what_there_is(shell) -> None:
    text = README.read_text()
    listed = json.loads(shell("bench list --json", ROOT).stdout)
    families = {row["name"].split(".")[0] for row in listed["benchmarks"]}
    for row in listed["benchmarks"]:
        _, name = row["name"].split(".")
        assert f"`{row['name']}`" in text or f"`.{name}`" in text, row["name"]
    assert families == set(re.findall(r"^\| `(\w+)\.", text, re.MULTILINE))
    assert not [row["name"] for row in listed["clusters"] if f"`{row['name']}`" not in text]


def test_every_command_that_a_page_mentions_exists(shell) -> None:
    text = "".join(page.read_text() for page in PAGES)
    mentioned = set(re.findall(r"`bench ([a-z]+)", text))
    known = set(re.findall(r"^    ([a-z]+) ", shell("bench --help", ROOT).stdout, re.MULTILINE))
    assert mentioned
    assert mentioned <= known


def test_the_page_on_logs_lists_every_kind() -> None:
    from collectors import kinds

    table = (ROOT / "docs/collect.md").read_text()
    for kind in kinds.load():
        assert f"| `{kind.name}` | {kind.title} |" in table
