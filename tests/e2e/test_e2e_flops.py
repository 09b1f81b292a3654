"""FLOP counted by hand against torch's own counter, on the network that is trained, without its memory: every preset
at its own context, forward and backward.

torch's counter counts all s^2 pairs of attention. Of a fused kernel it counts five products in backward, since it works
the scores out again; the plain kernel has the four that the model needs, and is what is counted here. It does not know
grouped products; their formula is given to it below.
"""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from e2e import network
from harness import models
from harness.models.counts import recomputed_flops, training_flops
from harness.models.parts import parts


def grouped(a, b, *_, out_shape=None, **__):
    """Rows (m, k) times experts (e, k, n), or (m, k) times (k, n) where experts share out k: 2mkn."""
    return 2 * a[0] * a[1] * b[-1]


@pytest.fixture
def count(monkeypatch):
    """FLOP of a step of a model in torch's count. How many tokens an expert gets does not change it, and a tensor
    without values cannot tell."""
    monkeypatch.setattr(torch, "bincount", lambda x, minlength: x.new_empty(minlength))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)

    def counted(model, sequence, batch=1, recompute="none", early=True):
        counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._grouped_mm: grouped})
        with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), set_checkpoint_early_stop(early):
            held = network.Network(model, recompute)
            tokens = torch.empty((batch, sequence + 1), dtype=torch.int64)
            with counter:
                network.mean_loss(held(tokens[:, :-1]), tokens[:, 1:]).backward()
        return counter.get_total_flops()

    yield counted
    torch.set_default_dtype(before)


def layers(model, number):
    return msgspec.structs.replace(model, layers=number)


@pytest.mark.parametrize("name", models.names())
def test_every_preset_at_its_own_context(name, count):
    """A layer is what two layers have more than one. That the whole is so many of it is tested below."""
    model = models.load(name)
    one, two = (count(layers(model, number), model.context, 2) for number in (1, 2))
    assert training_flops(model, model.context, 2) == pytest.approx(one + (model.layers - 1) * (two - one), rel=1e-3)


@pytest.mark.parametrize("name", ["tiny", "tiny-moe", "llama3-8b"])
def test_all_layers_of_a_preset_are_its_layers_number_of_times(name, count):
    """Without it, the test above could miss what only whole models have. Every preset was counted whole once: exact."""
    model = models.load(name)
    assert training_flops(model, model.context) == pytest.approx(count(model, model.context), rel=1e-3)


@pytest.mark.parametrize("name", ["llama3-8b", "mixtral-8x7b", "gpt3-175b"])
@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_what_recomputation_adds(name, recompute, count):
    """HFU's numerator, of whole forwards."""
    model = layers(models.load(name), 2)
    sequence = model.context // 2
    added = count(model, sequence, 1, recompute, early=False) - count(model, sequence)
    assert recomputed_flops(model, sequence, 1, recompute) == pytest.approx(added, rel=1e-3)


def test_torchs_checkpoint_stops_before_the_last_product(count):
    """What the docstring of recomputed_flops says of it, so that who holds HFU against a profile finds the rest."""
    model, sequence = layers(models.load("llama3-8b"), 2), 1024
    down = next(part.flops for part in parts(model, sequence) if part.name == "down.forward")
    added = count(model, sequence, 1, "full") - count(model, sequence)
    assert recomputed_flops(model, sequence, 1, "full") - 2 * down == pytest.approx(added, rel=1e-3)


def test_causal_recomputation_is_half_and_a_diagonal():
    model = models.load("tiny")
    half, whole = (recomputed_flops(model, 512, 1, "selective", causal) for causal in (True, False))
    assert half * 2 * 512 == whole * 513
    assert recomputed_flops(model, 512) == 0
