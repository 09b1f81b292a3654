"""FLOP of a training step as others count them, by name, beside the exact count: two MFU of one job may differ in
nothing but this.

All of them count every pair of attention's positions, as `counts.training_flops` does with causal=False; a causal
kernel needs half. What a convention does not see of a given model is said in words, how far off it is as a ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.models import Model
from harness.models.counts import active_parameters, embeddings, parameters, training_flops

Counts = Literal["model", "hardware"]


@dataclass(frozen=True)
class Convention:
    """flops: of a whole step, all sequences. exact: matrix by matrix, without recomputation. counts: in a hardware
    convention recomputation is part of the number. leaves_out: what of this model it does not see, or sees wrongly."""

    name: str
    flops: float
    exact: int
    counts: Counts
    source: str
    leaves_out: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """To the exact count; in a hardware convention above 1 also by what is computed twice."""
        return self.flops / self.exact


def conventions(model: Model, sequence: int, batch: int = 1) -> tuple[Convention, ...]:
    """All of them, on `batch` sequences of `sequence` tokens."""
    exact = training_flops(model, sequence, batch)
    tokens = batch * sequence
    return tuple(
        Convention(name, tokens * each, exact, counts, source, tuple(missed))
        for name, each, counts, source, missed in (*_by_parameters(model, sequence), *_by_width(model, sequence))
    )


Row = tuple[str, float, Counts, str, Iterator[str]]


def _by_parameters(model: Model, sequence: int) -> Iterator[Row]:
    """FLOP of a token: 6N and attention, 12 L H Q T of heads H of size Q. They differ in what N is."""
    attention = 12 * model.layers * model.heads * model.head_dim * sequence
    by_width = 12 * model.layers * model.hidden * sequence
    whole, places = parameters(model), model.context * model.hidden if model.positions == "learned" else 0
    yield (
        "palm", 6 * whole + attention, "model",
        "Chowdhery et al., PaLM, arXiv 2204.02311, appendix B: 6N + 12LHQT, N all parameters: its 540.35 B count the "
        "embedding, which is also the output",
        _in_parameters(model, places),
    )  # fmt: skip
    yield (
        "llm-foundry", 6 * whole + by_width, "model",
        "mosaicml/llm-foundry, scripts/train/benchmarking/README.md, MFU: 3 (2 n_params s + 4 n_layers d_model s^2)",
        _in_parameters(model, places, by_width=True),
    )  # fmt: skip
    yield (
        "llm-foundry-hfu", 8 * whole + by_width * 4 / 3, "hardware",
        "the same page, HFU: 4 for 3, one forward more, for full recomputation",
        _in_parameters(model, places, by_width=True),
    )  # fmt: skip
    yield (
        "nanogpt", 6 * (whole - places) + attention, "model",
        "karpathy/nanoGPT, model.py, estimate_mfu: PaLM's, N without learned positions",
        _in_parameters(model, 0),
    )  # fmt: skip
    used = active_parameters(model) - embeddings(model) + model.hidden * model.vocabulary
    yield (
        "torchtitan", 6 * used + attention, "model",
        "pytorch/torchtitan, torchtitan/models/utils.py: N of active experts and the output, without embeddings",
        iter(()),
    )  # fmt: skip


def _in_parameters(model: Model, places: int, by_width: bool = False) -> Iterator[str]:
    """What N, or the width that stands for all heads, gets wrong."""
    if not model.tied:
        yield "counts the embedding, which is looked up, as a product"
    if places:
        yield "counts learned positions, which are looked up, as a product"
    if model.experts > 1:
        yield f"takes all {model.experts} experts to be at work for a token, where {model.active} are"
    if by_width and model.heads * model.head_dim != model.hidden:
        yield _HEADS


def _by_width(model: Model, sequence: int) -> Iterator[Row]:
    """FLOP of a token of a GPT of hidden size h: 72 L h^2 are three times the forward's 24."""
    layers, h, vocabulary = model.layers, model.hidden, model.vocabulary
    s = sequence
    yield (
        "narayanan", 96 * layers * h**2 * (1 + s / (6 * h) + vocabulary / (16 * layers * h)), "hardware",
        "Narayanan et al., SC21, arXiv 2104.04473, section 5.1 and appendix: 96 B s l h^2 (1 + s/6h + V/16lh), full "
        "recomputation counted",
        _in_width(model),
    )  # fmt: skip
    yield (
        "korthikanti", 72 * layers * h**2 * (1 + s / (6 * h) + vocabulary / (12 * h * layers)), "model",
        "Korthikanti et al., arXiv 2205.05198, appendix A: 72 B L s h^2 (1 + s/6h + v/12hL)",
        _in_width(model),
    )  # fmt: skip
    yield (
        "korthikanti-hfu", 72 * layers * h**2 * (1 + s / (3 * h) + vocabulary / (12 * h * layers)), "hardware",
        "the same appendix, selective recomputation: s/3h for s/6h, so 12 B L s^2 h more; attention once more forward "
        "would be 4 B L s^2 h",
        _in_width(model),
    )  # fmt: skip


_HEADS = "takes all heads together to be as wide as the model"


def _in_width(model: Model) -> Iterator[str]:
    """Where a model is no GPT."""
    if model.kv_heads < model.heads:
        yield "takes keys and values to have as many heads as queries"
    if model.heads * model.head_dim != model.hidden:
        yield _HEADS
    if model.experts > 1:
        yield "knows no experts nor router"
    if model.gated or model.ffn != 4 * model.hidden:
        yield "takes a feed-forward of two matrices, 4h wide" + (", where SwiGLU has three" if model.gated else "")
