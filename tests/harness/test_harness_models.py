"""Models as data: published parameter counts, FLOP against the literature's formulas, files that are wrong."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import models
from harness.errors import UsageError
from harness.models import Model, load, shard
from harness.models.counts import (
    active_parameters,
    embeddings,
    layer_flops,
    layer_parameters,
    parameters,
    training_flops,
    weights,
)
from harness.models.parts import parts

NAMES = ["gpt3-175b", "llama3-405b", "llama3-70b", "llama3-8b", "mixtral-8x7b", "tiny", "tiny-moe", "zaya1"]

EXACT = {
    "llama3-8b": 8_030_261_248,  # of the published weights, tensor by tensor
    "llama3-70b": 70_553_706_496,
    "mixtral-8x7b": 46_702_792_704,
}
ROUNDED = {"gpt3-175b": 174_600e6, "llama3-405b": 405e9}  # GPT-3: table D.1; Llama 3: its name


def test_the_presets_are_there_and_say_where_they_come_from():
    assert models.names() == NAMES
    for name in NAMES:
        assert len(load(name).source) > 10


@pytest.mark.parametrize("name", EXACT)
def test_parameters_are_those_of_the_published_weights(name):
    assert parameters(load(name)) == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_are_those_that_the_paper_gives(name):
    assert parameters(load(name)) == pytest.approx(ROUNDED[name], rel=0.003)


def test_active_parameters_of_mixtral():
    assert active_parameters(load("mixtral-8x7b")) == pytest.approx(12.9e9, rel=0.003)


def test_zaya1_is_like_its_totals_without_embeddings():
    """Its router and convolutions are approximated: the note says so."""
    zaya = load("zaya1")
    assert parameters(zaya) - embeddings(zaya) == pytest.approx(8.3e9, rel=0.01)
    assert active_parameters(zaya) - embeddings(zaya) == pytest.approx(0.76e9, rel=0.07)
    assert "0.71 B active" in zaya.note


@st.composite
def described(draw, dense=False):
    kv = draw(st.integers(1, 4))
    experts = 1 if dense else draw(st.sampled_from([1, 4]))
    return Model(
        "drawn", "drawn", layers=draw(st.integers(1, 5)), hidden=draw(st.integers(8, 64)),
        heads=kv * draw(st.integers(1, 3)), kv_heads=kv, head_dim=2 * draw(st.integers(2, 16)),
        ffn=draw(st.integers(8, 64)), vocabulary=draw(st.integers(10, 99)), context=64,
        gated=draw(st.booleans()), experts=experts,
        active=draw(st.integers(1, experts)), norm=draw(st.sampled_from(["rms", "layer"])),
        positions=draw(st.sampled_from(["rope", "learned"])), biases=experts == 1 and draw(st.booleans()),
    )  # fmt: skip


@given(described(), st.integers(1, 40), st.integers(1, 4))
def test_training_is_palms_6n_plus_12lds(model, sequence, batch):
    """N: the entries of every matrix that a token is multiplied by; d: all heads together (PaLM, appendix B)."""
    matrices = {name: shape for name, shape in weights(model).items() if len(shape) > 1}
    used = sum(
        math.prod(shape) * (model.active / model.experts if len(shape) == 3 else 1) for shape in matrices.values()
    )
    n = model.layers * used + model.vocabulary * model.hidden
    attention = 12 * model.layers * model.heads * model.head_dim * sequence
    assert training_flops(model, sequence, batch) == pytest.approx((6 * n + attention) * sequence * batch, rel=1e-12)


def test_gpt3_is_korthikantis_formula_and_with_recomputation_narayanans():
    gpt, s, batch = load("gpt3-175b"), 2048, 3
    layers, h, vocabulary = gpt.layers, gpt.hidden, gpt.vocabulary
    korthikanti = 72 * batch * layers * s * h**2 * (1 + s / (6 * h) + vocabulary / (12 * h * layers))
    narayanan = 96 * batch * layers * s * h**2 * (1 + s / (6 * h) + vocabulary / (16 * h * layers))
    assert training_flops(gpt, s, batch) == pytest.approx(korthikanti, rel=1e-12)
    recomputed = layers * layer_flops(gpt, s, batch) // 3  # forward once more
    assert training_flops(gpt, s, batch) + recomputed == pytest.approx(narayanan, rel=1e-12)


@given(described(), st.integers(1, 40))
def test_backward_is_twice_forward_and_causal_attention_half_and_a_diagonal(model, sequence):
    held = {part.name: part for part in parts(model, sequence, 2)}
    forward = sum(part.flops * part.times for part in held.values() if part.direction == "forward")
    assert 3 * forward == layer_flops(model, sequence, 2, causal=True)
    whole = layer_flops(model, sequence, 2) - layer_flops(model, sequence, 2, causal=True)
    assert whole == 12 * 2 * model.heads * model.head_dim * (sequence**2 - sequence * (sequence + 1) // 2)


@given(described(dense=True), st.integers(2, 4), st.integers(1, 20))
def test_shards_together_do_the_whole_layer(model, degree, sequence):
    fields = ("heads", "kv_heads", "ffn", "vocabulary")
    wide = msgspec.structs.replace(model, **{name: getattr(model, name) * degree for name in fields})
    one = shard(wide, degree)
    assert degree * layer_flops(one, sequence) == layer_flops(wide, sequence)
    assert one == model


@given(described(), st.integers(1, 12))
def test_a_degree_that_does_not_divide_is_refused_with_the_degrees_that_do(model, degree):
    common = math.gcd(model.heads, model.kv_heads, model.ffn, model.vocabulary)
    if common % degree == 0:
        assert shard(model, degree).heads * degree == model.heads
        return
    with pytest.raises(ValueError, match=f"tensor_parallel={degree} does not divide") as refused:
        shard(model, degree)
    named = str(refused.value).split("degrees that do: ")[1].split(";")[0]
    assert [int(text) for text in named.split(", ")] == [n for n in range(1, common + 1) if common % n == 0]


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(
        ValueError, match=r"^tensor_parallel=3 does not divide heads 32, kv_heads 8, ffn 14336; degrees "
    ):
        shard(load("llama3-8b"), 3)


def test_a_vocabulary_that_does_not_divide_is_told_its_padding():
    with pytest.raises(ValueError, match=r"does not divide vocabulary 50257; .*; vocabulary=51200 would"):
        shard(load("gpt3-175b"), 8)
    padded = msgspec.structs.replace(load("gpt3-175b"), vocabulary=51200)
    assert shard(padded, 8).vocabulary == 6400


TEXT = """title = "mine"
source = "me"
layers = 2
hidden = 64
heads = 4
kv_heads = 2
head_dim = 16
ffn = 96
vocabulary = 100
context = 32
"""


def test_a_file_of_the_same_form_is_read(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TEXT)
    mine = load(str(file))
    assert (mine.hidden, mine.gated, mine.experts) == (64, True, 1)
    assert layer_parameters(mine) == 64 * 128 + 64 * 64 + 3 * 64 * 96 + 2 * 64


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("hidden = 64", "hiden = 64", "unknown: hiden; missing: hidden. Keys of a model: title, source, layers"),
        ("hidden = 64", 'hidden = "64"', "Expected `int`, got `str` - at `hidden`"),
        ("hidden = 64", "hidden = 0", "Expected `int` >= 1 - at `hidden`"),
        ("hidden = 64", "hidden = 99999999999999999999", "hidden"),
        ("kv_heads = 2", "kv_heads = 3", "heads = 4 is no multiple of kv_heads = 3"),
        ("head_dim = 16", "head_dim = 15", "head_dim = 15: RoPE turns pairs, it has to be even"),
        ("ffn = 96", "ffn = 96\nactive = 2", "active = 2 is more than experts = 1"),
        ("ffn = 96", "ffn = 96\nexperts = 2\nbiases = true", "biases and experts together"),
        ("ffn = 96", 'ffn = 96\nnorm = "batch"', "Invalid enum value 'batch' - at `norm`"),
        ("ffn = 96", "ffn = [", "no valid TOML: "),
        ("ffn = 96", f"ffn = {'[' * 5000}", "nested too deep"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_key(before, after, said, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TEXT.replace(before, after))
    with pytest.raises(UsageError) as error:
        load(str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)


def test_what_is_no_file_and_no_name_says_what_there_is(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read: No such file.*llama3-8b"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"unknown model 'llama3-8'\. Near: llama3-8b"):
        load("llama3-8")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(str(tmp_path / "bytes.toml"))
