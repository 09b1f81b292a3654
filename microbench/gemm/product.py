"""One matrix product: its operands, its call, and the check against float64.

C = A·B with A (m, k), B (k, n), 2·m·n·k FLOP, through torch's own call into preallocated memory. `tf32` is
float32 data with TF32 products, `float8` is e4m3 with one scale a tensor and a bfloat16 result, `int8` has
an int32 result, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec

from harness.accelerator import Operation
from harness.errors import Skip, WrongAnswer
from harness.operands import Spec
from harness.records import Rate, Struct
from harness.units import Unit

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task

SAMPLED = 32  # rows, and columns, that a check compares
FLOAT8_MULTIPLE = 16  # edges of a float8 product, in elements: torch._scaled_mm asks for it
Dtype = Literal["float64", "float32", "tf32", "bfloat16", "float16", "float8", "int8"]

Multiply = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], None]


class Sets(Protocol):
    """Operand sets as `harness.operands.Operands` gives them: readied in turn, each some tensors."""

    def prepare(self, operations: int, /) -> None: ...

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, ...]: ...


class GemmParams(Struct, frozen=True):
    """n and k may be left out: 0 stands for m, and is replaced by it."""

    m: Annotated[int, msgspec.Meta(ge=1)]
    n: Annotated[int, msgspec.Meta(ge=0)] = 0
    k: Annotated[int, msgspec.Meta(ge=0)] = 0
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "n", self.n or self.m)
        msgspec.structs.force_setattr(self, "k", self.k or self.m)
        if self.dtype == "float8" and any(edge % FLOAT8_MULTIPLE for edge in (self.m, self.n, self.k)):
            raise ValueError(f"float8 needs m, n and k to be multiples of {FLOAT8_MULTIPLE}")


@dataclass(frozen=True)
class Arithmetic:
    """How a type computes: unit roundoffs of its factors as used, of an addition, of the result.

    stored, result: torch's names of the operands' and the result's types. together: products that
    are added before one rounding. by_columns: B is stored transposed, as the vendors' kernels take it.
    """

    stored: str
    result: str
    factor: float
    addition: float
    rounding: float
    together: int = 1
    by_columns: bool = False


# Tensor cores may truncate where they add in float32, so twice float32's roundoff stands there (Fasi et
# al., PeerJ Computer Science 7:e330, 2021), and TF32's 11 bits may be cut off too. Hopper keeps about 14
# bits while it adds float8 products, 32 at a time (DeepSeek-V3, arXiv 2412.19437, 3.3.2).
ARITHMETIC = {
    "float64": Arithmetic("float64", "float64", 0.0, 2**-53, 2**-53),
    "float32": Arithmetic("float32", "float32", 0.0, 2**-24, 2**-24),
    "tf32": Arithmetic("float32", "float32", 2**-10, 2**-23, 2**-24),
    "bfloat16": Arithmetic("bfloat16", "bfloat16", 0.0, 2**-23, 2**-8),
    "float16": Arithmetic("float16", "float16", 0.0, 2**-23, 2**-11),
    "float8": Arithmetic("float8_e4m3fn", "bfloat16", 0.0, 2**-13, 2**-8, together=32, by_columns=True),
    "int8": Arithmetic("int8", "int32", 0.0, 0.0, 0.0, by_columns=True),
}


def flop(m: int, n: int, k: int) -> int:
    """Multiplications and additions of one product, exactly as torch.utils.flop_counter counts them."""
    return 2 * m * n * k


def least_bytes(m: int, n: int, k: int, kind: Arithmetic) -> int:
    """Bytes of A, B and C, each once: the least that a product moves, whatever its kernel moves."""
    import torch

    stored, result = (getattr(torch, name).itemsize for name in (kind.stored, kind.result))
    return int(stored * (m * k + k * n) + result * m * n)


def build(ctx: Context, params: GemmParams, rotate: bool = True) -> Task:
    """The task of one cell; skips a type that the device cannot multiply. Without `rotate` the operands
    stay in whatever cache holds them."""
    from harness.sampling import Task

    m, n, k, kind = params.m, params.n, params.k, ARITHMETIC[params.dtype]
    work, moved = float(flop(m, n, k)), float(least_bytes(m, n, k, kind))
    operation = Operation("gemm", "mm", params.dtype, bytes=moved, flops=work, shape=(m, n, k))
    ctx.require(operation)
    stored, flags = kind.stored, tuple[str, ...]()
    multiply: Multiply = _plain
    if params.dtype == "float8":
        stored, multiply = float8_type(ctx.device), _scaled(ctx.device)
        flags = (f"{stored}, one scale a tensor, fast accumulation, bfloat16 result",)
    elif params.dtype == "int8":
        multiply, flags = _integer, ("integer operations, not floating-point ones; int32 result",)
    columns = (n, k) if kind.by_columns else (k, n)
    sets = ctx.operands(Spec((m, k), stored), Spec(columns, stored), Spec((m, n), kind.result), rotate=rotate)
    if params.dtype == "int8" and ctx.device.type != "meta":
        _try(multiply, sets, params)

    def step(index: int) -> None:
        multiply(*sets[index])

    def check() -> None:
        verify(step, sets, params, kind)

    rates = (Rate("flops", work, Unit.FLOP_PER_SECOND), Rate("traffic", moved, Unit.BYTE_PER_SECOND))
    return Task(operation, step, rates, sets.prepare, check, sets.count, sets.flags + flags)


def _plain(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    import torch

    torch.mm(a, b, out=c)


def _scaled(device: torch.device) -> Multiply:
    import torch

    one = torch.ones((), device=device)

    def multiply(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
        torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=c.dtype, use_fast_accum=True, out=c)

    return multiply


def _integer(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    import torch

    torch._int_mm(a, b.t(), out=c)


def _try(multiply: Multiply, sets: Sets, params: GemmParams) -> None:
    """Skip, in torch's words, a product that it refuses for its type or its edges."""
    sets.prepare(1)
    try:
        multiply(*sets[0])
    except (RuntimeError, ValueError) as error:
        shape = f"{params.m} x {params.n} x {params.k}"
        raise Skip(f"no {params.dtype} product of {shape} here: {str(error).splitlines()[0]}") from error


def float8_type(device: torch.device) -> str:
    """The e4m3 that the device multiplies: OCP's, or the fnuz of MI300 (gfx942), which has no
    infinities and another bias. Tried on the device, since torch does not say. Skips if neither works."""
    import torch

    if device.type == "meta":
        return "float8_e4m3fn"  # nothing is executed
    tile, result = (FLOAT8_MULTIPLE, FLOAT8_MULTIPLE), ""
    for name in ("float8_e4m3fn", "float8_e4m3fnuz"):
        a = torch.ones(tile, device=device).to(getattr(torch, name))
        try:
            _scaled(device)(a, a, torch.empty(tile, dtype=torch.bfloat16, device=device))
        except (RuntimeError, ValueError) as error:
            result = str(error).split("\n")[0]
            continue
        return name
    raise Skip(f"no float8 product on {device}: {result}")


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """TF32 products for `tf32` and for nothing else; what was set before comes back."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def verify(step: Callable[[int], None], sets: Sets, params: GemmParams, kind: Arithmetic) -> None:
    """Compare one product with float64; raise WrongAnswer beyond `bound`."""
    sets.prepare(1)
    a, b, c = sets[0]
    spoil(c)
    step(0)
    compare(a, b.t() if kind.by_columns else b, c, params.dtype)


def spoil(result: torch.Tensor) -> None:
    """Write what no product gives, so that an element left unwritten is found."""
    result.fill_(float("nan") if result.is_floating_point() else -(2**31))


def compare(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, dtype: str) -> None:
    """Sampled rows and columns of c (m, n) against a (m, k) times b (k, n), in whatever layouts."""
    m, n, k, kind = *c.shape, a.shape[1], ARITHMETIC[dtype]
    rows, columns = _spread(m), _spread(n)
    left, right = _rows(a, rows).double(), _rows(b.t(), columns).double().t()
    exact, walk = left @ right, (left.square() @ right.square()).sqrt()
    found, allowed = _rows(c, rows)[:, columns].double(), bound(k, kind) * walk
    wrong = ~((found - exact).abs() <= allowed)
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise WrongAnswer(
            f"{dtype} product: element ({int(rows[row])}, {int(columns[column])}) is "
            f"{float(found[row, column]):.6g}, expected {float(exact[row, column]):.6g} "
            f"to within {float(allowed[row, column]):.1g}"
        )


def bound(k: int, kind: Arithmetic) -> float:
    """Largest error of an element, in units of sqrt(Σ (a·b)²), for random normal operands.

    A rounding error is at most u times the partial sum that it rounds, and the partial sums of
    independent zero-mean products stay within 6 of those units (a normal leaves ±6σ once in 5·10^8).
    K additions give γ_K = K·u / (1 − K·u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
    ed., 3.1; for random data: Higham & Mary, SIAM J. Sci. Comput. 42, 2020). Each of two factors is rounded
    once, the result twice, since a split sum may be carried in its type.
    """
    additions = -(-k // kind.together) * kind.addition
    gamma = additions / (1 - additions)
    return 6 * (gamma + 2 * kind.factor + 2 * kind.rounding)


def _rows(matrix: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Those rows, in the host's memory. A device may have no indexing of float8: bytes are bytes."""
    import torch

    raw = matrix.view(torch.uint8) if matrix.itemsize == 1 else matrix
    return raw[rows.to(matrix.device)].cpu().view(matrix.dtype)


def _spread(edge: int) -> torch.Tensor:
    import torch

    return torch.linspace(0, edge - 1, min(edge, SAMPLED), dtype=torch.float64).round().long()
