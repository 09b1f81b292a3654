"""Which of torch's attention kernels a job uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.asked import Kernel


@contextmanager
def kernels(kernel: Kernel) -> Iterator[None]:
    """While it lasts, scaled_dot_product_attention takes this kernel only; a device that lacks it says so in the
    first forward."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    named = {
        "math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
    }  # fmt: skip
    if kernel == "default":
        yield
        return
    with sdpa_kernel(named[kernel]):
        yield
