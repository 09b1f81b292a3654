"""Sizing of a transformer: every matrix product of a model's layer and everything else in it, each by
itself, and the layer really run.

One cell that is asked for stands for one cell a part (`harness.models.parts`) and `layer`. A
measurement's params give the part's shape and `times`, how often a layer does it: the sum of times ×
duration over all parts is what the layer's own duration is held against. Rates count the FLOP of a causal
kernel, half of attention's square and its diagonal, and no recomputation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness import models
from harness.models.parts import Part, parts
from harness.records import Cadence, Measurement, Params, Struct
from harness.registry import benchmark

if TYPE_CHECKING:
    from harness.context import Context
    from harness.models import Model
    from harness.sampling import Task

LAYER = "layer"
SEQUENCE = 2048  # tokens, at most, where none are asked for


class TransformerParams(Struct, frozen=True):
    """model: a name, or a file that ends in .toml. sequence: 0 stands for the model's own context, at
    most 2048. batch: sequences of a micro-batch. vocabulary: 0 stands for the model's own; one that is
    padded may divide where it does not. part: one of the layer's ('qkv.forward', or all of 'qkv'),
    'layer', or nothing for all.
    """

    model: str = "tiny"
    sequence: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    batch: Annotated[int, msgspec.Meta(ge=1, le=1 << 12)] = 1
    tensor_parallel: Annotated[int, msgspec.Meta(ge=1, le=1 << 10)] = 1
    dtype: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    vocabulary: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    part: str = ""

    def __post_init__(self) -> None:
        if models.is_file(self.model):  # ranks may start in another folder
            msgspec.structs.force_setattr(self, "model", str(Path(self.model).resolve()))
        whole = models.load(self.model)
        msgspec.structs.force_setattr(self, "sequence", self.sequence or min(whole.context, SEQUENCE))
        msgspec.structs.force_setattr(self, "vocabulary", self.vocabulary or whole.vocabulary)
        if self.sequence < 2:
            raise ValueError("sequence=1: attention over one token has no gradient; at least 2")
        if whole.positions == "learned" and self.sequence > whole.context:
            raise ValueError(f"sequence={self.sequence}: {self.model} has learned positions for {whole.context}")
        known = [name for name, _ in _known(self)]
        if self.part and not _matching(self.part, known):
            raise ValueError(f"part='{self.part}': the parts of {self.model} are {', '.join(known)}")


def shard(params: TransformerParams) -> Model:
    """One device's share of the model; ValueError where the degree does not divide it."""
    whole = msgspec.structs.replace(models.load(params.model), vocabulary=params.vocabulary)
    return models.shard(whole, params.tensor_parallel)


def _known(params: TransformerParams) -> list[tuple[str, Part | None]]:
    """All parts by name; the layer, which is none, last."""
    item = 4 if params.dtype in ("float32", "tf32") else 2
    held = parts(shard(params), params.sequence, params.batch, item)
    return [*((part.name, part) for part in held), (LAYER, None)]


def _matching(text: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if not text or text in (name, name.partition(".")[0])]


def expand(params: TransformerParams) -> list[TransformerParams]:
    """One cell for each part that is asked for."""
    chosen = _matching(params.part, [name for name, _ in _known(params)])
    return [msgspec.structs.replace(params, part=name) for name in chosen]


@benchmark(
    "gemm.transformer", version=1, params=TransformerParams, scope="device", rate="flops", parts=expand,
)  # fmt: skip
def transformer(ctx: Context, params: TransformerParams) -> Sequence[Measurement]:
    """Every product and memory-bound part of a model's layer on every device, and the layer itself."""
    from microbench.gemm.product import precision

    part = dict(_known(params))[params.part]
    with precision(params.dtype):
        measured = ctx.time(build(ctx, params, part), [Cadence.STREAMING])
    return [msgspec.structs.replace(measurement, params=described(params, part)) for measurement in measured]


def build(ctx: Context, params: TransformerParams, part: Part | None) -> Task:
    """The task of one cell."""
    from microbench.gemm import layer, layer_products, layer_streams
    from microbench.gemm.asked import Asked

    asked = Asked(shard(params), params.sequence, params.batch, params.dtype)
    if part is None:
        return layer.build(ctx, asked)
    if part.kind in layer_products.NAMES:
        return layer_products.build(ctx, asked, part)
    return layer_streams.build(ctx, asked, part)


def described(params: TransformerParams, part: Part | None) -> Params:
    """What a reader needs to place the measurement: the part's shape and how often a layer does it, or
    the shape of one device's layer."""
    if part is not None:
        shape: Params = {"times": part.times, "m": part.m, "n": part.n}
        shape |= {} if part.kind == "stream" else {"k": part.k}
        return shape | ({"count": part.count} if part.count > 1 else {})
    model = shard(params)
    return {name: getattr(model, name) for name in ("hidden", "heads", "kv_heads", "head_dim", "ffn", "experts")}
