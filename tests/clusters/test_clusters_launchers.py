"""The commands that start ranks, as they are, and one that is really run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.launchers.torchrun import ROOT, torchrun
from harness.environment import NAMES, PREFIXES, SECRETS, environment_allowed
from harness.errors import UsageError

JOB, OUT = Path("/runs/a/job.json"), Path("/runs/a")


def test_one_node() -> None:
    launch = torchrun(JOB, OUT, nodes=1, ranks_per_node=8, threads=6, python="/env/bin/python", inherited={})
    assert launch.argv == (
        "/env/bin/python", "-m", "torch.distributed.run",
        "--nnodes=1", "--nproc-per-node=8", "--max-restarts=0",
        "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--rdzv-id=a", "--local-addr=127.0.0.1",
        "--log-dir=/runs/a/torchrun", "-m", "harness.worker", "--job", "/runs/a/job.json", "--out", "/runs/a",
    )  # fmt: skip
    assert launch.environment == {
        "OMP_NUM_THREADS": "6",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    assert launch.missing == ()


def test_many_nodes() -> None:
    launch = torchrun(
        JOB, OUT, nodes=128, ranks_per_node=8, threads=12, python="python", rendezvous="node-000:29400", node_rank=3,
        log_dir=Path("/logs"), inherited={"PYTHONPATH": "/site/torch"},
        environment={"NCCL_IB_HCA": "mlx5", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert launch.argv == (
        "python", "-m", "torch.distributed.run",
        "--nnodes=128", "--nproc-per-node=8", "--max-restarts=0",
        "--rdzv-backend=c10d", "--rdzv-endpoint=node-000:29400", "--rdzv-id=a", "--rdzv-conf=is_host=0",
        "--log-dir=/logs", "--tee=3",
        "-m", "harness.worker", "--job", "/runs/a/job.json", "--out", "/runs/a",
    )  # fmt: skip
    assert launch.environment == {
        "OMP_NUM_THREADS": "1",  # the definition has the last word
        "PYTHONPATH": f"{ROOT}:/site/torch",
        "PYTHONUNBUFFERED": "1",
        "NCCL_IB_HCA": "mlx5",
    }
    assert launch.missing == ()


def test_the_first_node_hosts_the_rendezvous() -> None:
    launch = torchrun(
        JOB, OUT, nodes=2, ranks_per_node=1, threads=1, python="python", rendezvous="a:1", node_rank=0, inherited={}
    )
    assert "--rdzv-conf=is_host=1" in launch.argv


def test_a_plan_for_nodes_not_known_yet_can_be_shown_and_says_so() -> None:
    launch = torchrun(JOB, OUT, nodes=2, ranks_per_node=8, threads=1, python="python", inherited={})
    assert launch.missing == ("rendezvous",)
    assert "--rdzv-endpoint=<first node>:29400" in launch.argv


def test_no_ranks_are_no_launch() -> None:
    with pytest.raises(UsageError, match="each at least 1"):
        torchrun(JOB, OUT, nodes=1, ranks_per_node=0, threads=1, python="python")


def test_torchrun_takes_these_arguments(tmp_path: Path) -> None:
    """The real launcher with a worker of ours in the place of the project's: arguments, environment."""
    package = tmp_path / "harness"
    package.mkdir()
    (package / "__init__.py").touch()  # else an installed `harness` is found before it
    (package / "worker.py").write_text(
        "import os, sys\n"
        "names = ('RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS')\n"
        "out = sys.argv[sys.argv.index('--out') + 1]\n"
        "with open(f\"{out}/rank-{os.environ['RANK']}\", 'w') as file:\n"
        "    file.write(' '.join(os.environ[name] for name in names))\n"
    )
    launch = torchrun(tmp_path / "job.json", tmp_path, nodes=1, ranks_per_node=2, threads=3, python=sys.executable)
    environ = {**os.environ, **launch.environment, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(launch.argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [(tmp_path / f"rank-{rank}").read_text() for rank in range(2)]
    assert said == ["0 2 2 127.0.0.1 3", "1 2 2 127.0.0.1 3"]


# Which environment variables a record keeps

names = st.text(st.characters(codec="ascii", exclude_characters="=\0"), max_size=20)


def test_what_is_kept() -> None:
    environ = {
        "NCCL_DEBUG": "INFO", "RCCL_MSCCL_ENABLE": "0", "HSA_NO_SCRATCH_RECLAIM": "1", "UCX_TLS": "rc",
        "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "CUDA_VISIBLE_DEVICES": "0,1", "ROCR_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "0",
        "GLOO_SOCKET_IFNAME": "lo", "SLURM_JOB_ID": "17",
    }  # fmt: skip
    others = {
        "HOME": "/root", "PATH": "/bin", "CUDA_HOME": "/usr", "SLURM_JOB_USER": "me", "NCCL_API_KEY": "k",
        "UCX_Token": "t", "HF_TOKEN": "t", "MKL_password_file": "p",
    }  # fmt: skip
    kept = environment_allowed(environ | others)
    assert kept == environ
    assert list(kept) == sorted(kept)


@given(st.sampled_from([*PREFIXES, *sorted(NAMES)]), names, st.sampled_from(SECRETS), names, st.randoms())
def test_no_name_that_looks_like_a_credential_is_kept(
    start: str, left: str, word: str, right: str, random: object
) -> None:
    mixed = "".join(letter.lower() if random.random() < 0.5 else letter for letter in word)  # type: ignore[attr-defined]
    assert environment_allowed({f"{start}{left}{mixed}{right}": "value"}) == {}


@given(st.dictionaries(names, names))
def test_nothing_is_kept_but_what_is_listed(environ: dict[str, str]) -> None:
    kept = environment_allowed(environ)
    assert kept.items() <= environ.items()
    assert all(name in NAMES or name.startswith(PREFIXES) for name in kept)


@given(st.sampled_from(PREFIXES), names.filter(lambda name: not any(word in name.upper() for word in SECRETS)), names)
def test_what_is_listed_is_kept_unchanged(prefix: str, rest: str, value: str) -> None:
    name = prefix + rest
    if any(word in name.upper() for word in SECRETS):  # the seam between the two made one
        assert environment_allowed({name: value}) == {}
    else:
        assert environment_allowed({name: value}) == {name: value}
