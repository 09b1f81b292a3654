"""What a layer and its parts share: what is asked for, and the comparison with float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.accelerator import Operation
from harness.errors import WrongAnswer
from harness.models import Model
from microbench.gemm.product import ARITHMETIC

if TYPE_CHECKING:
    from torch import Tensor

    from harness.context import Context

Shape = tuple[int, ...]

FOREVER = 1 << 60  # uses of an operand set: nothing writes to operands here
NEW_MEMORY = "results go to new memory, as in a training step"
LEAST = 2**-18  # roundoff that float32 is taken to have: some thousand additions of 2^-24, at random
WHOLE, ELEMENT = 8, 64
"""Largest errors, in roundoffs: of the whole, against its norm; of an element, against the root mean square
of its row, its column or the whole. Found over the tiny models in float32, bfloat16 and float16 on CPU: at
most 2.8 and 21. A part of a sum left out is 1 / roundoff of them: 256 in bfloat16."""


@dataclass(frozen=True)
class Asked:
    """One device's layer: a model (its shard), sequences of tokens, and a data type's name."""

    model: Model
    sequence: int
    batch: int
    dtype: str

    @property
    def tokens(self) -> int:
        return self.sequence * self.batch

    @property
    def stored(self) -> str:
        """torch's name of the type that operands have."""
        return ARITHMETIC[self.dtype].stored

    @property
    def roundoff(self) -> float:
        kind = ARITHMETIC[self.dtype]
        return max(kind.factor, kind.rounding, LEAST)


def admit(ctx: Context, asked: Asked) -> None:
    """Skip a type that the device cannot multiply: a layer without its products is none."""
    ctx.require(Operation("gemm", "mm", asked.dtype))


def agree(found: Tensor, exact: Tensor, asked: Asked, what: str) -> None:
    """Compare with float64; WrongAnswer says what differs most, and by how much."""
    found, exact = found.detach().double(), exact.detach()
    error, squares, unit = (found - exact).abs(), exact.square(), asked.roundoff
    row, column = squares.mean(-1, keepdim=True), squares.mean(0, keepdim=True)
    allowed = ELEMENT * unit * row.maximum(column).maximum(squares.mean()).sqrt()
    whole = float(error.norm() / exact.norm()) if bool(exact.any()) else 0.0
    if whole <= WHOLE * unit and bool((error <= allowed).all()):
        return
    worst = int((error / allowed).nan_to_num(math.inf).argmax())
    raise WrongAnswer(
        f"{asked.dtype} {what}: off by {whole:.2g} of its norm, where {WHOLE * unit:.2g} is allowed; element {worst} "
        f"of {found.numel()} is {float(found.flatten()[worst]):.6g}, expected {float(exact.flatten()[worst]):.6g}"
    )
