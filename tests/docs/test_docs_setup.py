"""./quickstart, ./check and tools/setup.sh, with stand-ins for Python, pip and apt: nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from docs_markdown import ROOT

STAND_IN = ROOT / "tests/fixtures/python_stand_in.sh"
WHOLE = "ensurepip pip torch msgspec bench"


@dataclass
class Checkout:
    """A copy of what the scripts need, in a place of its own, with stand-ins first on the path."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def call(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'stand-ins'}:/usr/bin:/bin", "SEEN": str(self.folder / "seen"),
            "HAS": WHOLE, "BENCH_MACHINE": "cpu", **self.settings, **settings,
        }  # fmt: skip
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def seen(self) -> list[str]:
        """What pip, the gates and `bench` were asked since the last look."""
        file = self.folder / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name in ("quickstart", "check", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    for name in ("python3", "python3.11"):
        shutil.copy(STAND_IN, stand_ins / name)
    for name in ("apt-get", "nvidia-smi", "virtualenv", "python3.12", "python3.13", "python"):
        (stand_ins / name).write_text('#!/bin/sh\necho "$(basename "$0") $*" >>"$SEEN"\nexit 1\n')
        (stand_ins / name).chmod(0o755)
    return Checkout(tmp_path)


def installed(lines: list[str]) -> list[str]:
    """What was installed editable, in turn: the project with its extras."""
    return [line.rsplit(" ", 1)[1] for line in lines if "--editable" in line]


def test_first_start_sets_up_and_hands_the_arguments_on(checkout: Checkout) -> None:
    done = checkout.call("./quickstart", "--suite", "standard")
    assert done.returncode == 0, done.stderr
    lines = checkout.seen()
    assert installed(lines) == [".[dev]", ".[deepspeed]", ".[megatron]", ".[uring]"]
    assert lines[-1] == "run --cluster local --suite quick --suite standard"
    assert "making .venv" in done.stderr
    assert done.stdout == "", "standard output belongs to bench"


def test_second_start_does_nothing_but_the_command(checkout: Checkout) -> None:
    checkout.call("./quickstart")
    checkout.seen()
    done = checkout.call("./quickstart", "--json")
    assert done.stderr == ""
    assert checkout.seen() == ["run --cluster local --suite quick --json"]


def test_check_runs_every_gate_in_turn_and_stops_at_the_first_that_fails(checkout: Checkout) -> None:
    done = checkout.call("./check", "-k", "records")
    assert done.returncode == 0, done.stderr
    setting_up = ("pip", "venv", "apt", "compileall")
    gates = [line for line in checkout.seen() if not any(word in line for word in setting_up)]
    assert gates[:3] == ["-m ruff check .", "-m ruff format --check .", "-m mypy"]
    assert "importlinter" in gates[3]
    assert gates[4:] == ["-m pytest -k records"]
    failed = checkout.call("./check", REFUSES="mypy")
    assert failed.returncode != 0
    assert checkout.seen() == ["-m ruff check .", "-m ruff format --check ."]


@pytest.mark.parametrize(
    "changed", ["pyproject.toml", "requirements/cpu.txt", "requirements/tools.txt", "tools/setup.sh"]
)
def test_a_change_of_what_is_asked_for_is_brought_in(checkout: Checkout, changed: str) -> None:
    checkout.call("./quickstart")
    checkout.seen()
    with open(checkout.folder / changed, "a") as file:
        file.write("# changed\n")
    done = checkout.call("./quickstart")
    lines = checkout.seen()
    assert "up to date" in done.stderr
    assert not [line for line in lines if "-m venv" in line], "the environment is kept"
    assert installed(lines) == [".[dev]", ".[deepspeed]", ".[megatron]", ".[uring]"]


def test_a_half_made_environment_is_redone(checkout: Checkout) -> None:
    assert checkout.call("./quickstart", REFUSES=".[dev]").returncode == 3
    assert checkout.call("./quickstart").returncode == 0
    checkout.seen()
    (checkout.folder / ".venv/set-up.half-made").touch()
    (checkout.folder / ".venv/left-over").touch()
    assert checkout.call("./quickstart").returncode == 0
    assert [line for line in checkout.seen() if line.startswith("-m venv")]
    assert not (checkout.folder / ".venv/left-over").exists()


def test_an_environment_of_another_place_is_redone(checkout: Checkout, tmp_path: Path) -> None:
    checkout.call("./quickstart")
    moved = tmp_path / "moved"
    shutil.copytree(checkout.folder, moved, ignore=shutil.ignore_patterns("moved"))
    other = Checkout(moved)
    other.seen()
    assert other.call("./quickstart").returncode == 0
    assert [line for line in other.seen() if line.startswith("-m venv")]


def test_an_extra_that_does_not_install_is_a_line_and_no_failure(checkout: Checkout) -> None:
    done = checkout.call("./quickstart", REFUSES=".[deepspeed]")
    assert done.returncode == 0
    assert "'deepspeed' does not install here" in done.stderr
    assert installed(checkout.seen()) == [".[dev]", ".[megatron]", ".[uring]"]


def test_a_failing_installation_is_loud_and_says_what_pip_said(checkout: Checkout) -> None:
    done = checkout.call("./check", REFUSES=".[dev]")
    assert done.returncode == 3
    assert "no such luck" in done.stderr
    assert "pip install failed" in done.stderr
    assert not [line for line in checkout.seen() if "pytest" in line]


def test_without_a_python_it_says_what_is_missing(checkout: Checkout) -> None:
    done = checkout.call("./quickstart", VERSION="old", BENCH_PYTHON="python3")
    assert done.returncode == 3
    assert "no Python 3.11 or newer" in done.stderr
    assert "BENCH_PYTHON=" in done.stderr


def test_without_ensurepip_it_asks_apt_then_says_what_to_do(checkout: Checkout) -> None:
    done = checkout.call("./quickstart", HAS="pip torch msgspec bench", BENCH_PYTHON="python3")
    assert done.returncode == 3 or [line for line in checkout.seen() if line.startswith("virtualenv")]
    if os.geteuid() == 0:
        assert "apt-get: python3.11-venv" in done.stderr


def test_a_cuda_build_of_several_gigabytes_is_announced(checkout: Checkout) -> None:
    without = "ensurepip pip msgspec bench"
    quiet = checkout.call("./quickstart", HAS=without)
    assert "CUDA" not in quiet.stderr
    shutil.rmtree(checkout.folder / ".venv")
    warned = checkout.call("./quickstart", HAS=without, REPORT='"version": "2.13.0"')
    assert ("PIP_EXTRA_INDEX_URL" in warned.stderr) == (os.uname().machine == "x86_64")


@pytest.mark.parametrize("machine", ["nvidia", "amd"])
def test_a_torch_that_is_there_is_used_and_pinned(checkout: Checkout, machine: str) -> None:
    done = checkout.call("./quickstart", BENCH_MACHINE=machine)
    assert done.returncode == 0, done.stderr
    assert "using the torch of" in done.stderr
    lines = checkout.seen()
    assert any(line.startswith("-m venv --system-site-packages") for line in lines)
    assert installed(lines)[0] == (".[dev,nvidia]" if machine == "nvidia" else ".[dev]")
    pins = (checkout.folder / ".venv/set-up.pins").read_text()
    assert "torch==2.9.9+rocm7" in pins
    assert "cpu.txt" not in pins


def test_no_build_of_torch_is_chosen_for_an_amd_machine(checkout: Checkout) -> None:
    done = checkout.call("./quickstart", BENCH_MACHINE="amd", HAS="ensurepip pip msgspec bench")
    assert done.returncode == 3
    assert "ROCm" in done.stderr
    assert "BENCH_MACHINE=cpu" in done.stderr
    assert not [line for line in checkout.seen() if "pip" in line]


def test_an_nvidia_machine_is_found_by_its_program(checkout: Checkout) -> None:
    (checkout.folder / "stand-ins/nvidia-smi").write_text("#!/bin/sh\nexit 0\n")
    checkout.call("./quickstart", BENCH_MACHINE="")
    assert installed(checkout.seen())[0] == ".[dev,nvidia]"


def test_an_unknown_machine_is_named_with_what_is_accepted(checkout: Checkout) -> None:
    done = checkout.call("./check", BENCH_MACHINE="tpu")
    assert done.returncode == 3
    assert "'tpu'" in done.stderr
    assert "cpu, nvidia, amd" in done.stderr


@pytest.mark.parametrize("script", ["quickstart", "check"])
def test_help_sets_nothing_up(checkout: Checkout, script: str) -> None:
    done = checkout.call(f"./{script}", "--help")
    assert done.returncode == 0
    assert "Arguments go to" in done.stdout
    assert not (checkout.folder / ".venv").exists()


def test_everything_that_is_asked_for_has_a_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["dev"], *extras["deepspeed"], *extras["megatron"], *extras["uring"]]
    pinned = "".join((ROOT / "requirements" / name).read_text() for name in ("cpu.txt", "tools.txt"))
    names = {re.sub(r"[_.]", "-", line.split("==")[0].lower()) for line in pinned.splitlines() if "==" in line}
    assert not [text for text in asked if re.split(r"[><=]", text)[0].lower() not in names]


def test_ci_calls_what_the_readme_calls_the_test_command() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "./check" in script.read_text()
    assert "./check " in (ROOT / "README.md").read_text()
