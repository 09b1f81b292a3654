"""Conventions of counting FLOP against the figures that their own authors published with them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import models
from harness.models import Model
from harness.models.conventions import conventions
from harness.models.counts import parameters, recomputed_flops, training_flops

A100, TPU_V4, H100 = 312e12, 275e12, 989.5e12  # FLOP/s, dense bfloat16, as the sources below divide by


def by_name(model, sequence, batch=1):
    return {held.name: held for held in conventions(model, sequence, batch)}


def gpt(layers, hidden, heads, vocabulary=51200, **other):
    shape = {"head_dim": hidden // heads, "ffn": 4 * hidden, "context": 2048, "gated": False, "norm": "layer",
             "positions": "learned", "biases": True, "tied": True}  # fmt: skip
    return Model("drawn from a paper", "its table", layers=layers, hidden=hidden, heads=heads, kv_heads=heads,
                 vocabulary=vocabulary, **{**shape, **other})  # fmt: skip


def test_palm_540b_reaches_its_46_2_percent():
    """PaLM, table 1, section 4.1 and appendix B: 118 layers, 48 heads of 256, one key head; 238.3 thousand tokens/s on
    6144 chips; 46.2 % with attention, 45.7 % without."""
    palm = gpt(118, 18432, 48, 256000, head_dim=256, gated=True, positions="rope", biases=False, norm="rms")
    palm = msgspec.structs.replace(palm, kv_heads=1, ffn=73728)
    assert parameters(palm) == pytest.approx(540.35e9, rel=1e-4)
    held = by_name(palm, 2048)["palm"]
    rate = 238.3e3 / (6144 * TPU_V4)
    assert held.flops / 2048 * rate == pytest.approx(0.462, abs=5e-4)
    assert 6 * parameters(palm) * rate == pytest.approx(0.457, abs=5e-4)
    assert held.ratio == pytest.approx(1, abs=1e-3)
    assert held.leaves_out == ()


KORTHIKANTI = [  # layers, hidden, heads, devices, batch, s of an iteration, MFU, HFU
    (48, 6144, 64, 8, 4, 1.10, 0.415, 0.437),
    (96, 12288, 96, 64, 64, 13.75, 0.514, 0.528),
    (105, 20480, 128, 280, 280, 37.83, 0.560, 0.570),
    (128, 25600, 160, 512, 512, 71.49, 0.563, 0.570),
]


@pytest.mark.parametrize("row", KORTHIKANTI, ids=["22B", "175B", "530B", "1T"])
def test_korthikantis_models_reach_their_mfu_and_hfu(row):
    """Tables 3 and 5 of arXiv 2205.05198, sequence and selective recomputation; times have three digits."""
    layers, hidden, heads, devices, batch, seconds, mfu, hfu = row
    held = by_name(gpt(layers, hidden, heads), 2048, batch)
    whole = seconds * devices * A100
    assert held["korthikanti"].flops / whole == pytest.approx(mfu, abs=2.1e-3)
    assert held["korthikanti-hfu"].flops / whole == pytest.approx(hfu, abs=2.1e-3)
    assert held["korthikanti"].flops == pytest.approx(held["korthikanti"].exact, rel=1e-12)


def test_korthikantis_hfu_counts_three_forwards_of_attention():
    """So an HFU of this project, which counts one, is lower than one of that paper for the same step."""
    model = models.load("gpt3-175b")
    held = by_name(model, 2048)
    more = held["korthikanti-hfu"].flops - held["korthikanti"].flops
    assert more == pytest.approx(3 * recomputed_flops(model, 2048, 1, "selective"), rel=1e-9)


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "tokens", "devices", "rate", "days"),
    [(96, 12288, 96, 300e9, 1024, 140e12, 34), (128, 25600, 160, 450e9, 3072, 163e12, 84)],
)
def test_narayanans_training_times(layers, hidden, heads, tokens, devices, rate, days):
    """SC21, section 5.1: GPT-3 in 34 days, a trillion parameters in 84, by 8TP / nX of the rounded P; full
    recomputation is one forward more than the exact count."""
    model = gpt(layers, hidden, heads)
    held = by_name(model, 2048)["narayanan"]
    assert held.flops / 2048 * tokens / (devices * rate) / 86400 == pytest.approx(days, rel=0.025)
    assert held.flops == pytest.approx(held.exact + recomputed_flops(model, 2048, 1, "full"), rel=1e-12)


def test_llm_foundrys_mpt_7b_reaches_its_46_44_percent():
    """Its README's table of H100: 7b at 2048, 6,658,859,008 parameters, 85,144 tokens/s on 8, 459.5 TFLOP/s each;
    with checkpointing, 30b at 2048 on 32, 43.92 % MFU is 58.57 % HFU."""
    mpt = gpt(32, 4096, 32, 50368)
    assert parameters(mpt) == 6_658_859_008
    held = by_name(mpt, 2048)
    each = held["llm-foundry"].flops / 2048 * 85144 / 8
    assert each == pytest.approx(4.595096e14, rel=1e-4)
    assert each / H100 == pytest.approx(0.4644, abs=1e-4)
    assert held["llm-foundry-hfu"].flops / held["llm-foundry"].flops == pytest.approx(58.57 / 43.92, rel=1e-3)


def test_nanogpt_is_palms_without_positions():
    """Its README's GPT-2 has 124 M parameters; estimate_mfu takes 123.65 M of them."""
    model = gpt(12, 768, 12, 50257, context=1024)
    assert parameters(model) == 124_439_808
    held = by_name(model, 1024)
    assert held["palm"].flops - held["nanogpt"].flops == 1024 * 6 * 1024 * 768


@pytest.mark.parametrize("name", models.names())
def test_ratios_to_the_exact_count(name):
    """torchtitan's sees every part; the others are off where they say so, and only there."""
    model = models.load(name)
    held = by_name(model, model.context, 2)
    assert all(one.exact == training_flops(model, model.context, 2) for one in held.values())
    assert held["torchtitan"].ratio == pytest.approx(1, abs=2e-3)
    for one in held.values():
        if one.counts == "model" and not one.leaves_out:
            assert one.ratio == pytest.approx(1, abs=2e-3)
        if one.counts == "model" and abs(one.ratio - 1) > 0.01:
            assert one.leaves_out, f"{one.name} is off by {one.ratio} and does not say why"


def test_a_mixture_of_experts_is_far_off_in_palms_count():
    held = by_name(models.load("mixtral-8x7b"), 4096)
    assert held["palm"].ratio > 3
    assert "takes all 8 experts to be at work for a token, where 2 are" in held["palm"].leaves_out
    assert "knows no experts nor router" in held["korthikanti"].leaves_out


@given(st.integers(1, 9), st.integers(1, 4096))
def test_a_step_is_its_sequences(batch, sequence):
    model = models.load("tiny")
    for one, many in zip(conventions(model, sequence), conventions(model, sequence, batch), strict=True):
        assert many.flops == pytest.approx(batch * one.flops, rel=1e-12)
        assert many.ratio == pytest.approx(one.ratio, rel=1e-12)
