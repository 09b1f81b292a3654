"""Megatron's packing of weights, without megatron: every part is where its layout puts it, and the parts of all ranks
make up the whole. A slip here would still train, only another model."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from e2e_losses import small
from torch import Tensor, nn

from e2e import network
from e2e.trainers.megatron_weights import Draw, Part, Share, fill, value
from harness.models import Model

GPT = {"norm": "layer", "positions": "learned", "biases": True, "gated": False}
LAYER = "decoder.layers.0"


def drawn(model: Model) -> dict[str, Tensor]:
    """Every weight random, also those that training begins with at 0 or 1."""
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in network.shapes(model).items()}


def of(model: Model) -> tuple[dict[str, Tensor], Draw]:
    held = drawn(model)
    return held, held.__getitem__


@pytest.mark.parametrize("kind", ["weight", "bias"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_queries_keys_and_values_lie_group_by_group(ranks: int, kind: str) -> None:
    """2 key-value heads of 16 columns, each with 2 heads of queries: group 0 is q0 q1 k0 v0."""
    model = small(**GPT)
    held, draw = of(model)
    q, k, v = (held[f"layers.1.attention.{part}.{kind}"].split(16) for part in "qkv")
    groups = [torch.cat((*q[2 * g : 2 * g + 2], k[g], v[g])) for g in range(2)]
    shares = [Share(Part(rank, ranks), layer=1) for rank in range(ranks)]
    found = [value(f"{LAYER}.self_attention.linear_qkv.{kind}", model, share, draw) for share in shares]
    assert torch.equal(torch.cat(found), torch.cat(groups))


def test_each_tensor_rank_has_its_rows_of_gate_then_of_up() -> None:
    model = small()
    held, draw = of(model)
    gate, up = (held[f"layers.0.ffn.{part}.weight"].split(48) for part in ("gate", "up"))
    for rank in range(2):
        found = value(f"{LAYER}.mlp.linear_fc1.weight", model, Share(Part(rank, 2)), draw)
        assert torch.equal(found, torch.cat((gate[rank], up[rank])))


@pytest.mark.parametrize(
    ("theirs", "ours", "dimension"),
    [
        ("embedding.word_embeddings.weight", "embedding.weight", 0),
        ("output_layer.weight", "output.weight", 0),
        (f"{LAYER}.self_attention.linear_proj.weight", "layers.0.attention.projection.weight", 1),
        (f"{LAYER}.mlp.linear_fc1.weight", "layers.0.ffn.up.weight", 0),
        (f"{LAYER}.mlp.linear_fc1.bias", "layers.0.ffn.up.bias", 0),
        (f"{LAYER}.mlp.linear_fc2.weight", "layers.0.ffn.down.weight", 1),
    ],
)
def test_the_parts_of_tensor_ranks_make_up_the_whole(theirs: str, ours: str, dimension: int) -> None:
    model = small(**GPT)
    held, draw = of(model)
    parts = [value(theirs, model, Share(Part(rank, 4)), draw) for rank in range(4)]
    assert torch.equal(torch.cat(parts, dimension), held[ours])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (f"{LAYER}.input_layernorm.weight", "layers.1.norm1.weight"),
        (f"{LAYER}.input_layernorm.bias", "layers.1.norm1.bias"),
        (f"{LAYER}.pre_mlp_layernorm.weight", "layers.1.norm2.weight"),
        (f"{LAYER}.self_attention.linear_qkv.layer_norm_weight", "layers.1.norm1.weight"),
        (f"{LAYER}.mlp.linear_fc1.layer_norm_bias", "layers.1.norm2.bias"),
        (f"{LAYER}.self_attention.linear_proj.bias", "layers.1.attention.projection.bias"),
        (f"{LAYER}.mlp.linear_fc2.bias", "layers.1.ffn.down.bias"),
        ("decoder.final_layernorm.bias", "norm.bias"),
        ("embedding.position_embeddings.weight", "places.weight"),
    ],
)
def test_what_no_rank_divides_is_whole_on_each_and_a_stage_counts_its_layers_from_0(theirs: str, ours: str) -> None:
    model = small(**GPT)
    held, draw = of(model)
    assert torch.equal(value(theirs, model, Share(Part(1, 2), layer=1), draw), held[ours])


def test_a_tied_output_is_the_embedding() -> None:
    model = small(tied=True)
    held, draw = of(model)
    assert torch.equal(value("output_layer.weight", model, Share(Part(1, 2)), draw), held["embedding.weight"][128:])


@pytest.mark.parametrize("form", ["local_experts.{}.linear_fc{}.weight", "linear_fc{1}.weight{0}"])
def test_experts_count_from_0_on_each_rank_alone_or_in_one_module(form: str) -> None:
    """Of 4 experts the second rank has 2 and 3; their own tensor ranks divide them."""
    model = small("tiny-moe", experts=4, active=2, ffn=96)
    held, draw = of(model)
    share = Share(Part(0, 2), Part(1, 2), expert=2)
    for local in range(2):
        first, second = (value(f"{LAYER}.mlp.experts.{form.format(local, n)}", model, share, draw) for n in (1, 2))
        gate, up, down = (held[f"layers.0.ffn.{part}"][2 + local] for part in ("gate", "up", "down"))
        assert torch.equal(first, torch.cat((gate[48:], up[48:])))
        assert torch.equal(second, down[:, 48:])
    assert torch.equal(value(f"{LAYER}.mlp.router.weight", model, share, draw), held["layers.0.ffn.router.weight"])


@pytest.mark.parametrize("name", ["decoder.layers.0.mlp.linear_fc3.weight", "encoder.weight"])
def test_a_name_of_another_model_is_refused_by_name(name: str) -> None:
    model = small()
    with pytest.raises(KeyError, match=name.removeprefix("decoder.layers.0.")):
        value(name, model, Share(), of(model)[1])


def test_a_wrong_shape_is_refused_before_it_is_copied() -> None:
    """copy_ would broadcast a row over a matrix."""
    model = small()
    held = nn.Parameter(torch.zeros(7, 64))
    with pytest.raises(ValueError, match=r"output_layer\.weight is \(7, 64\), the model's weight \(256, 64\)"):
        fill([("output_layer.weight", held)], model, Share(), of(model)[1])
    assert not held.any()


def test_a_stack_of_experts_is_drawn_once() -> None:
    """Drawing 8 experts 8 times over is minutes for a large model."""
    model = small("tiny-moe", experts=4, active=2, ffn=96)
    held, told = drawn(model), list[str]()

    def draw(name: str) -> Tensor:
        told.append(name)
        return held[name]

    named = [
        (f"{LAYER}.mlp.experts.local_experts.{n}.linear_fc1.weight", nn.Parameter(torch.empty(192, 64)))
        for n in range(4)
    ]
    fill(named, model, Share(), draw)
    assert sorted(told) == ["layers.0.ffn.gate", "layers.0.ffn.up"]
    assert not any(torch.equal(a, b) for (_, a), (_, b) in pairwise(named))
