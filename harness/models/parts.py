"""Every matrix product and memory-bound part of a model's layer, forward and backward.

FLOP and bytes are exact: bytes are what must move, each operand read once and each result written
once; an implementation of several passes moves more. The parts that a layer runs have `times` > 0, and
the sum of times × duration is to be held against the layer as a whole. Those with times 0 stand
beside it: the logits, which a model has once, and attention's products one by one, which the layer
does as one fused operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.models import Model

Kind = Literal["product", "batched", "grouped", "attention", "stream"]
Direction = Literal["forward", "backward", "input", "weight"]
IDENTIFIER = 8  # B of an index


@dataclass(frozen=True)
class Part:
    """One part. piece: what it belongs to. direction: forward, backward; of a product's backward, the
    gradient of its input or of its weight.

    A product is (m, k) times (k, n): `batched`, count of them; `grouped`, the rows of m (of the weight's
    gradient: of k) are shared out over count matrices. attention: m queries, n keys, head size k, count
    heads. stream: m rows, n columns.
    """

    piece: str
    direction: Direction
    kind: Kind
    m: int
    n: int
    k: int
    count: int
    flops: int
    bytes: int
    times: int

    @property
    def name(self) -> str:
        return f"{self.piece}.{self.direction}"


def parts(model: Model, sequence: int, batch: int = 1, item: int = 2, causal: bool = True) -> tuple[Part, ...]:
    """Parts of a layer of `model` on `batch` sequences of `sequence` tokens; `item` is the bytes of an
    element. For one device of several, give its `shard`."""
    tokens = sequence * batch
    held = [*_attention(model, sequence, batch, item, causal), *_feed_forward(model, tokens, item)]
    held += [*_around(model, tokens, item), *_products("logits", tokens, model.vocabulary, model.hidden, item, times=0)]
    return tuple(held)


def _attention(model: Model, sequence: int, batch: int, item: int, causal: bool) -> Iterator[Part]:
    hidden, heads, kv, size, tokens = model.hidden, model.heads, model.kv_heads, model.head_dim, sequence * batch
    yield from _products("qkv", tokens, model.qkv, hidden, item, bias=model.biases)
    wide = 2 * tokens * model.qkv
    if model.positions == "rope":
        turned, table = 2 * tokens * (heads + kv) * size, sequence * size
        yield from _stream("rope", tokens, model.qkv, item * (turned + table), item * (wide + table))
    else:
        yield from _stream("split", tokens, model.qkv, 0, item * wide)
    pairs = sequence * (sequence + 1) // 2 if causal else sequence**2
    work, moved = 4 * batch * heads * pairs * size, 2 * item * tokens * (heads + kv) * size
    fused = sequence, sequence, size, batch * heads
    yield Part("attention", "forward", "attention", *fused, work, moved, 1)
    yield Part("attention", "backward", "attention", *fused, 2 * work, 2 * moved, 1)
    rows = sequence * heads // kv  # queries that share a key head make one matrix
    yield from _products("scores", rows, sequence, size, item, "batched", batch * kv, times=0)
    yield from _products("values", rows, size, sequence, item, "batched", batch * kv, times=0)
    yield from _products("projection", tokens, hidden, heads * size, item, bias=model.biases)


def _feed_forward(model: Model, tokens: int, item: int) -> Iterator[Part]:
    hidden, ffn, experts = model.hidden, model.ffn, model.experts
    rows = tokens * model.active
    kind: Kind = "grouped" if experts > 1 else "product"
    if experts > 1:
        yield from _routing(model, tokens, rows, item)
    yield from _products("up", rows, model.up, hidden, item, kind, experts, bias=model.biases)
    inner, outer = rows * model.up, rows * ffn
    yield from _stream("activation", rows, model.up, item * (inner + outer), item * (2 * inner + outer))
    yield from _products("down", rows, hidden, ffn, item, kind, experts, bias=model.biases)


def _routing(model: Model, tokens: int, rows: int, item: int) -> Iterator[Part]:
    """Tokens to their experts and back; `rows` is tokens times active experts."""
    hidden, logits, names = model.hidden, tokens * model.experts, IDENTIFIER * rows
    yield from _products("router", tokens, model.experts, hidden, item)
    yield from _stream(
        "route", tokens, model.experts, item * (logits + rows) + names, item * (2 * logits + rows) + names
    )
    spread = (tokens + rows) * hidden
    yield from _stream("permute", rows, hidden, item * spread + names, item * spread + names)
    backward = spread + rows * hidden + 2 * rows
    yield from _stream("combine", rows, hidden, item * (spread + rows) + names, item * backward + names)


def _around(model: Model, tokens: int, item: int) -> Iterator[Part]:
    """Norms, residual sums, gradients of biases. Backward, the gradients of two uses of a tensor are
    added: at each residual, and where router and experts read the same."""
    hidden, vectors = model.hidden, 2 if model.norm == "layer" else 1
    plane = tokens * hidden
    yield from _stream("norm", tokens, hidden, item * (2 * plane + vectors * hidden),
                       item * (3 * plane + (1 + vectors) * hidden), times=(2, 2))  # fmt: skip
    sums = (2, 3 if model.experts > 1 else 2)
    yield from _stream("residual", tokens, hidden, 3 * item * plane, 3 * item * plane, times=sums)
    if model.biases:
        columns = model.qkv + model.up + 2 * hidden
        yield from _stream("bias", tokens, columns, 0, item * (tokens + 1) * columns)


def _products(
    piece: str, m: int, n: int, k: int, item: int, kind: Kind = "product", count: int = 1, times: int = 1,
    bias: bool = False,
) -> Iterator[Part]:  # fmt: skip
    """y (m, n) = x (m, k) · wᵀ of w (n, k); then the gradients of x and of w. A bias is added in the same
    call as forward's product."""
    many = count if kind == "batched" else 1
    flops = 2 * m * n * k * many
    moved = item * (many * (m * k + m * n) + count * n * k)
    yield Part(piece, "forward", kind, m, n, k, count, flops, moved + (item * n if bias else 0), times)
    yield Part(piece, "input", kind, m, k, n, count, flops, moved, times)
    yield Part(piece, "weight", kind, n, k, m, count, flops, moved, times)


def _stream(
    piece: str, rows: int, columns: int, forward: int, backward: int, times: tuple[int, int] = (1, 1)
) -> Iterator[Part]:  # fmt: skip
    """The two directions, with the bytes of each; one that moves nothing is not there."""
    if forward:
        yield Part(piece, "forward", "stream", rows, columns, 0, 1, 0, forward, times[0])
    yield Part(piece, "backward", "stream", rows, columns, 0, 1, 0, backward, times[1])
