"""Attention again, in float64 and by the formulas: what a fused kernel's results are held against.

Gradients after Dao et al., FlashAttention (arXiv 2205.14135), appendix B.2: with P the probabilities,
dP = dO·Vᵀ, D the row sums of dO∘O and dS = P∘(dP − D): dQ = dS·K/√d, dK = dSᵀ·Q/√d, dV = Pᵀ·dO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import WrongAnswer
from microbench.gemm.product import ARITHMETIC

AT_A_TIME = 1 << 23  # elements of a block of scores
ROUNDINGS = 6  # of an element between the scores and a result: exponential, sum, P, D, dS, once more
EXPONENTIAL = 32  # roundoffs of float32 that a fast exponential may be off
NAMES = ("result", "gradient of q", "gradient of k", "gradient of v")


@dataclass(frozen=True)
class Exact:
    """One result, and what its errors are measured in: the root of the sum of its terms' squares."""

    value: Tensor
    walk: Tensor


def verify(found: Sequence[Tensor], tensors: Sequence[Tensor], causal: bool, dtype: str) -> None:
    """Compare every element of the heads that share the last sequence's last keys; raise WrongAnswer
    beyond `bound`."""
    q, k = tensors[0], tensors[1]
    group = q.shape[1] // k.shape[1]

    def own(tensor: Tensor) -> Tensor:
        return tensor[-1, -group if tensor.shape[1] == q.shape[1] else -1 :].double()

    exact, largest = work_out([own(tensor) for tensor in tensors], causal)
    terms = group * q.shape[2] + q.shape[3]
    for name, each, known in zip(NAMES, found, exact, strict=False):
        part = own(each)
        allowed = bound(terms, largest, dtype) * known.walk + 2 * ARITHMETIC[dtype].rounding * known.value.abs()
        wrong = ~((part - known.value).abs() <= allowed)
        if bool(wrong.any()):
            at = tuple(wrong.nonzero()[0].tolist())
            raise WrongAnswer(
                f"{dtype} attention, {name}: element {at} of the last heads is {float(part[at]):.6g}, expected "
                f"{float(known.value[at]):.6g} to within {float(allowed[at]):.1g}"
            )


def bound(terms: int, largest: float, dtype: str) -> float:
    """Largest error of an element, in units of the root of the sum of its terms' squares.

    As for a product (`product.bound`): errors of a sum's terms are independent and of either sign, so
    they stay within 6 of those units. A term is off by the roundings on its way, by the additions of the
    sums it comes from, and by its score's own error, which the exponential makes relative: a score of
    size s, rounded, is off by s roundoffs.
    """
    kind = ARITHMETIC[dtype]
    additions = (terms + EXPONENTIAL) * kind.addition
    return 6 * (additions / (1 - additions) + (ROUNDINGS + largest) * kind.rounding)


def work_out(tensors: Sequence[Tensor], causal: bool) -> tuple[list[Exact], float]:
    """For q (heads, n, d), k and v (1, n, d) and perhaps the result's gradient, all float64: the result
    (and the gradients of q, k, v), and the largest score. A block of queries at a time."""
    q, k, v, *gradient = tensors
    rows = max(1, AT_A_TIME // (q.shape[0] * k.shape[1]))
    along_queries = [list[Exact](), list[Exact]()]  # of the result, of q's gradient: joined at the end
    along_keys = [Exact(torch.zeros_like(k), torch.zeros_like(k)) for _ in gradient * 2]  # of k's, of v's: summed
    largest = 0.0
    for start in range(0, q.shape[1], rows):
        block = slice(start, start + rows)
        scores = q[:, block] @ k.mT / math.sqrt(q.shape[2])
        largest = max(largest, float(scores.abs().max()))
        if causal:
            ahead = torch.ones(scores.shape[1:], dtype=torch.bool, device=q.device).triu(start + 1)
            scores = scores.masked_fill(ahead, -math.inf)
        weights = scores.softmax(-1)
        result = _product(weights, weights, v)
        along_queries[0].append(result)
        if gradient:
            of_q, *of_keys = _gradients(weights, result.value, q[:, block], k, v, gradient[0][:, block])
            along_queries[1].append(of_q)
            for total, more in zip(along_keys, of_keys, strict=True):
                total.value.add_(more.value.sum(0))
                total.walk.add_(more.walk.square().sum(0))
    joined = [Exact(torch.cat([b.value for b in held], 1), torch.cat([b.walk for b in held], 1))
              for held in along_queries if held]  # fmt: skip
    return [*joined, *(Exact(total.value, total.walk.sqrt()) for total in along_keys)], largest


def _gradients(weights: Tensor, result: Tensor, q: Tensor, k: Tensor, v: Tensor, gradient: Tensor) -> list[Exact]:
    """Of q, k and v, from one block of queries. An error of dP or D enters dS times P."""
    of_weights, sums = gradient @ v.mT, (gradient * result).sum(-1, keepdim=True)
    of_scores = weights * (of_weights - sums) / math.sqrt(q.shape[2])
    sizes = weights * (of_weights.abs() + sums.abs()) / math.sqrt(q.shape[2])
    return [
        _product(of_scores, sizes, k),
        _product(of_scores.mT, sizes.mT, q),
        _product(weights.mT, weights.mT, gradient),
    ]


def _product(left: Tensor, sizes: Tensor, right: Tensor) -> Exact:
    """left · right, where elements of left carry errors of `sizes`."""
    return Exact(left @ right, (sizes.square() @ right.square()).sqrt())
