"""Whether a loop over memory did what it says, against float64 or exactly; WrongAnswer where it did not.

A destination is filled with NaN first and no NaN may be left, so that a share that was not written is
found wherever it lies. Values are then compared at places spread over the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import WrongAnswer
from microbench.memory.loops import SCALAR

if TYPE_CHECKING:
    import torch

SAMPLED = 4096  # elements, or pieces, that are compared
PART = 1 << 20  # elements that are made float64 at a time
IN_A_ROW = 512
ROUNDINGS = {"copy": 0, "write": 0, "scale": 1, "add": 1, "triad": 2}  # of one element


def loop_right(step: Callable[[], object], op: str, arrays: Sequence[torch.Tensor]) -> None:
    """Run one of STREAM's loops and compare the destination, the first array, with its sources."""
    import torch

    arrays[0].fill_(math.nan)
    step()
    written_whole(op, arrays[0])
    places = spread(arrays[0].numel())
    found, *sources = (array[places.to(array.device)].cpu().double() for array in arrays)
    none = torch.zeros_like(found)
    one, two = (*sources, none, none)[:2]
    factors = {"scale": (SCALAR, 0.0, 0.0), "triad": (1.0, SCALAR, 0.0), "write": (0.0, 0.0, SCALAR)}
    first, second, constant = factors.get(op, (1.0, 1.0, 0.0))
    exact = first * one + second * two + constant
    weight = first * one.abs() + second * two.abs()
    allowed = ROUNDINGS[op] * torch.finfo(arrays[0].dtype).eps / 2 * weight
    wrong = ~((found - exact).abs() <= allowed)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0].item())
        raise WrongAnswer(
            f"{op}: element {int(places[at])} of {arrays[0].numel()} is {float(found[at]):.9g}, "
            f"expected {float(exact[at]):.9g}"
        )


def written_whole(name: str, destination: torch.Tensor) -> None:
    """No NaN is left: it would be in the sum too."""
    if math.isnan(float(destination.sum())):
        raise WrongAnswer(f"{name}: part of the {destination.numel()} elements was not written")


def sum_right(array: torch.Tensor, kept: torch.Tensor) -> None:
    """torch's sum of floats: by blocks, lanes and threads it rounds an element's share at most IN_A_ROW times,
    so that its error is at most IN_A_ROW·u·Σ|x| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
    ed., 4.2)."""
    import torch

    exact = weight = 0.0
    for start in range(0, array.numel(), PART):
        wide = array[start : start + PART].double()
        exact += float(wide.sum())
        weight += float(wide.abs().sum())
    if not abs(float(kept) - exact) <= IN_A_ROW * torch.finfo(array.dtype).eps / 2 * weight:
        raise WrongAnswer(f"read: the sum of {array.numel()} elements is {float(kept):.9g}, expected {exact:.9g}")


def words_right(array: torch.Tensor, sums: torch.Tensor) -> None:
    """The compiled read: sums of 32-bit words, exact modulo 2^32 in any order."""
    import torch

    found, exact = (int(whole.sum(dtype=torch.int64)) % 2**32 for whole in (sums, array.view(torch.int32)))
    if found != exact:
        raise WrongAnswer(f"read: the words of {array.numel()} elements add up to {found}, expected {exact} (mod 2^32)")


def pieces_right(
    step: Callable[[], object], name: str, into: torch.Tensor, right: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Run a gather and compare: row i of `into` (pieces, elements) is a copy. right: the rows expected at these
    places."""
    into.fill_(math.nan)
    step()
    written_whole(name, into)
    places = spread(len(into)).to(into.device)
    wrong = (into[places] != right(places)).any(dim=1)
    if bool(wrong.any()):
        raise WrongAnswer(f"{name}: piece {int(places[wrong][0])} of {len(into)} is not the one asked for")


def spread(count: int) -> torch.Tensor:
    """Up to SAMPLED places over `count`, both ends among them."""
    import torch

    return torch.linspace(0, count - 1, min(count, SAMPLED), dtype=torch.float64).round().long()
