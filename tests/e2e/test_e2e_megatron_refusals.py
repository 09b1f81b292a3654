"""What megatron-core's trainer does not do: said before any rank waits for another, with what can be had instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from e2e_losses import job, run, small

from e2e.layout import Layout
from e2e.trainers import Refused, megatron_refusals, with_megatron

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, megatron-core does not run on the host")

MIXTURE = small("tiny-moe", experts=4, active=2, ffn=96)


@pytest.mark.parametrize(
    ("other", "word", "instead"),
    [
        ({"stage": 2}, "stage 2: megatron-core's distributed optimizer shares out states", "use stage 0 or 1"),
        ({"stage": 3}, "stage 3", "torch or deepspeed"),
        ({"dtype": "float8"}, "float8", "use bfloat16"),
        ({"compile": True}, "compile", "leave compile out"),
        ({"kernel": "flash"}, "kernel=flash", "kernel=default"),
        ({"optimizer": "muon"}, "Emerging Optimizers", "use adamw"),
        ({"optimizer": "adafactor"}, "adam, sgd and muon", "use adamw"),
        ({"offload": "cpu"}, "offload=cpu", "use deepspeed"),
        ({"model": MIXTURE, "layout": Layout(tensor=2)}, "experts with tensor=2", "sequence=true"),
    ],
)
def test_each_says_why_and_what_instead(other: dict[str, object], word: str, instead: str) -> None:
    with pytest.raises(Refused) as said:
        megatron_refusals.refuse(job("megatron", **{"model": small(), **other}))
    assert word in str(said.value)
    assert instead in str(said.value)


def test_what_it_does_is_not_refused() -> None:
    megatron_refusals.refuse(job("megatron", small(), Layout(tensor=2, sequence=True), stage=1, recompute="full"))
    megatron_refusals.refuse(job("megatron", MIXTURE, Layout(expert=2)))


def test_without_the_library_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(megatron_refusals, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"not installed: pip install 'bench\[megatron\]'"):
        megatron_refusals.refuse(job("megatron", small()))


def test_context_parallelism_is_refused_by_megatron_itself_on_every_rank(tmp_path: Path) -> None:
    """Not by a rank that finds the others gone: each finds out by itself."""
    ended = run(job("megatron", small(), Layout(context=2)), 2, tmp_path / "world")
    for one in ended:
        assert one.reason == (
            f"rank {one.rank}: Refused: context=2: megatron-core says: Context parallelism is only supported by "
            "TEDotProductAttention!"
        )


def test_a_layout_that_does_not_fit_is_named_with_the_nearest_that_does(tmp_path: Path) -> None:
    [ended] = run(job("megatron", small(), Layout(tensor=2)), 1, tmp_path / "world")
    assert "ValueError: tensor=2 x pipeline=1 x context=1 is 2, which does not divide 1 ranks" in ended.reason


def test_a_host_with_a_gpu_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Refused, match="there is a GPU: megatron-core is used as it is"):
        with_megatron.redirected()


def test_naming_the_trainer_imports_neither_megatron_nor_what_redirects_it() -> None:
    """On a GPU it is used as it is, and a worker that only looks must stay as it was."""
    code = (
        "import sys, torch; zeros = torch.zeros; import e2e.trainers.with_megatron; assert torch.zeros is zeros; "
        "assert not [name for name in sys.modules if 'megatron.' in name or 'megatron_on_cpu' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


FUSED = """
from e2e_losses import job, small
from clusters.accelerators import megatron_on_cpu
from e2e.trainers.megatron_model import configuration

megatron_on_cpu.redirect()
for given in ({}, {"biases": True}, {"gated": False}, {"gated": False, "biases": True}):
    made = configuration(job("megatron", small(**given)), fused=True)
    assert made.bias_dropout_fusion
    assert made.bias_activation_fusion == (given != {"gated": False}), given
"""


def test_what_a_gpu_is_given_is_accepted_for_every_kind_of_feed_forward() -> None:
    """Megatron has no fused GELU without a bias: asked for, it refuses the model, which no test without a GPU would
    notice."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-c", FUSED], check=True, timeout=100, env={**os.environ, "PYTHONPATH": paths})
