"""How a job is laid out over ranks, and whether it can be: every refusal names the nearest layout that can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from harness.models import Model
from harness.records import Struct

Degree = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class Layout(Struct, frozen=True):
    """Degrees of parallelism; data parallelism takes the ranks that the product of the others leaves over.

    tensor: of every matrix product (Shoeybi et al., arXiv 1909.08053). pipeline: stages. expert: ranks that share out
    the experts. context: ranks that share a sequence. sequence: activations between products are shared out over the
    tensor ranks too (Korthikanti et al., arXiv 2205.05198).
    """

    tensor: Degree = 1
    pipeline: Degree = 1
    expert: Degree = 1
    context: Degree = 1
    sequence: bool = False

    def data(self, world: int) -> int:
        """Ranks that train on different sequences. ValueError where the degrees do not divide the world."""
        product = self.tensor * self.pipeline * self.context
        if world % product:
            near = _nearest(product, lambda n: world % n == 0)
            raise ValueError(
                f"tensor={self.tensor} x pipeline={self.pipeline} x context={self.context} is {product}, which does "
                f"not divide {world} ranks; the nearest product that does: {near}"
            )
        return world // product

    @property
    def words(self) -> str:
        """Degrees above 1: "tensor 2, pipeline 2"."""
        named = {name: getattr(self, name) for name in ("tensor", "pipeline", "expert", "context")}
        held = [f"{name} {value}" for name, value in named.items() if value > 1]
        return ", ".join(held + (["sequence parallel"] if self.sequence else [])) or "data parallel"


def check(model: Model, layout: Layout, world: int, batch: int, micro: int, sequence: int) -> int:
    """Micro-batches that each data rank takes in a step of `batch` sequences in all, `micro` at a time.

    ValueError names what does not divide, and the nearest value that would."""
    data = layout.data(world)
    for name, value in (("heads", model.heads), ("kv_heads", model.kv_heads), ("ffn", model.ffn),
                        ("vocabulary", model.vocabulary)):  # fmt: skip
        _divides("tensor", layout.tensor, name, value)
    _divides("pipeline", layout.pipeline, "layers", model.layers)
    if layout.expert > 1:
        _divides("expert", layout.expert, "experts", model.experts)
        _divides("expert", layout.expert, "data ranks", data)
    if layout.sequence and layout.tensor == 1:
        raise ValueError("sequence parallelism shares activations over the tensor ranks: it needs tensor=2 or more")
    if layout.context > 1 and sequence % (2 * layout.context):
        near = round(sequence / (2 * layout.context)) * 2 * layout.context or 2 * layout.context
        raise ValueError(f"context={layout.context} cuts a sequence in {2 * layout.context} parts, which does not "
                         f"divide sequence={sequence}; the nearest that does: {near}")  # fmt: skip
    each = data * micro
    if batch % each:
        near = max(1, round(batch / each)) * each
        raise ValueError(
            f"batch={batch} sequences is no multiple of {data} data ranks x micro_batch={micro}; nearest: batch={near}"
        )
    _limits(model, sequence)
    return batch // each


def _limits(model: Model, sequence: int) -> None:
    if model.positions == "learned" and sequence > model.context:
        raise ValueError(f"sequence={sequence}: the model has learned positions for {model.context}, at most that")


def _divides(degree: str, value: int, name: str, whole: int) -> None:
    if whole % value:
        near = _nearest(value, lambda n: whole % n == 0)
        raise ValueError(f"{degree}={value} does not divide {name}={whole}; the nearest degree that does: {near}")


def _nearest(value: int, fits: Callable[[int], bool]) -> int:
    """The nearest to `value` that fits, the lower one of two; 1 always does."""
    return next(n for gap in range(value) for n in (value - gap, value + gap) if n >= 1 and fits(n))
