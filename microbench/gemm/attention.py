"""Attention as torch offers it: scaled_dot_product_attention, by backend, head dimension and sequence length.

softmax(Q·Kᵀ / √d)·V for Q (batch, heads, sequence, d) and K, V (batch, kv_heads, sequence, d), where
heads / kv_heads neighbouring heads share keys and values (grouped queries, Ainslie et al., 2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.errors import Skip
from harness.operands import Spec
from harness.records import Cadence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Unit

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Step, Task

Count = Annotated[int, msgspec.Meta(ge=1)]

BACKENDS = {
    "flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH",
}  # fmt: skip
"""torch.nn.attention.SDPBackend, by the names that are used here."""

FORWARD, BACKWARD = 4, 8
"""FLOP for each attended pair, head and element of d: two products, Q·Kᵀ and P·V; and the four of their
gradients. The scores that a fused backward computes again are work that it chose, and not counted."""

COUNTED = "FLOP of the products only, for the pairs that are attended"
NEW_MEMORY = "results go to new memory, as in a training step"
MATRICES = 4  # of scores, in float32, that the math backend has in hand: a guess on the low side


class AttentionParams(Struct, frozen=True):
    """kv_heads: 0 stands for heads. causal: a query attends to itself and to what is before it. backward:
    the forward pass and then the gradients of q, k and v. backend: torch stands for torch's own choice,
    every for a cell of each of the others."""

    sequence: Count = 1024
    head_dim: Count = 128
    heads: Count = 16
    kv_heads: Annotated[int, msgspec.Meta(ge=0)] = 0
    batch: Count = 1
    causal: bool = True
    backward: bool = False
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "bfloat16"
    backend: Literal["every", "torch", "flash", "efficient", "cudnn", "math"] = "every"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "kv_heads", self.kv_heads or self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is no multiple of kv_heads={self.kv_heads}")

    @property
    def pairs(self) -> int:
        """Queries and keys that attend to each other: half of all and the diagonal, where causal."""
        return self.sequence * (self.sequence + 1) // 2 if self.causal else self.sequence**2

    @property
    def flops(self) -> int:
        each = FORWARD + (BACKWARD if self.backward else 0)
        return each * self.batch * self.heads * self.head_dim * self.pairs

    @property
    def elements(self) -> int:
        """Elements that must move: q, k, v and the result once; for gradients all of them again, and that
        of the result and the three that come out."""
        each = self.batch * self.sequence * self.head_dim
        return (6 if self.backward else 2) * each * (self.heads + self.kv_heads)


def parts(params: AttentionParams) -> Sequence[AttentionParams]:
    """A cell for each backend where every one was asked for."""
    if params.backend != "every":
        return [params]
    return [msgspec.structs.replace(params, backend=backend) for backend in BACKENDS]


@benchmark("gemm.attention", version=1, params=AttentionParams, scope="device", rate="flops", parts=parts)
def attention(ctx: Context, params: AttentionParams) -> Sequence[Measurement]:
    """Attention by torch's fused and plain kernels, forward, or forward and backward."""
    with chosen(params.backend):
        return ctx.time(build(ctx, params), [Cadence.STREAMING])


def chosen(backend: str) -> AbstractContextManager[None]:
    """This backend and no other, for as long as the context lasts."""
    if backend not in BACKENDS:
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    held: AbstractContextManager[None] = sdpa_kernel(getattr(SDPBackend, BACKENDS[backend]))
    return held


def build(ctx: Context, params: AttentionParams) -> Task:
    """The task of one cell; Skip, in torch's words, where the backend refuses it."""
    import torch

    from harness.sampling import Task
    from microbench.gemm.attention_check import verify

    moved = float(params.elements * getattr(torch, params.dtype).itemsize)
    shape = (params.batch, params.heads, params.sequence, params.head_dim)
    operation = Operation("gemm", "attention", params.dtype, moved, float(params.flops), shape=shape)
    ctx.require(operation)
    keys = (params.batch, params.kv_heads, params.sequence, params.head_dim)
    shapes = [shape, keys, keys, *([shape] if params.backward else [])]
    ctx.arena.allow(int(moved) + _scores(params))
    sets = ctx.operands(*(Spec(each, params.dtype) for each in shapes))

    def step(index: int) -> None:
        attend(sets[index], params.causal)

    def check() -> None:
        sets.prepare(1)
        verify(attend(sets[0], params.causal), sets[0], params.causal, params.dtype)

    sets.prepare(1)
    if ctx.device.type != "meta":
        _try(step, params.backend)
    rates = (
        Rate("flops", float(params.flops), Unit.FLOP_PER_SECOND),
        Rate("traffic", moved, Unit.BYTE_PER_SECOND),
    )
    return Task(operation, step, rates, sets.prepare, check, sets.count, (*sets.flags, COUNTED, NEW_MEMORY))


def attend(tensors: Sequence[torch.Tensor], causal: bool) -> tuple[torch.Tensor, ...]:
    """(result,) of (q, k, v); (result, gradients of q, k and v) where the result's gradient is there too."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v, *gradient = tensors
    grouped = q.shape[1] != k.shape[1]
    if not gradient:
        with torch.no_grad():
            return (scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped),)
    q, k, v = (tensor.detach().requires_grad_() for tensor in (q, k, v))
    result = scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    return result.detach(), *torch.autograd.grad(result, (q, k, v), gradient[0])


def _scores(params: AttentionParams) -> int:
    """Bytes of the score matrices, for the backend that has them whole."""
    whole = params.batch * params.heads * params.sequence**2 * 4
    return MATRICES * whole if params.backend == "math" else 0


def _try(step: Step, backend: str) -> None:
    """torch says why a backend is not used in warnings, and then refuses."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            step(0)
        except RuntimeError as error:
            words = [str(warning.message).split(" (Triggered")[0] for warning in told]
            reasons = [word for word in words if not word.endswith("because:") and "runtime disabled" not in word]
            said = "; ".join(dict.fromkeys(reasons)) or str(error).splitlines()[0]
            raise Skip(f"torch refuses {backend} attention here: {said}") from error
