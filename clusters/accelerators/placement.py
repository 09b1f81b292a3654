"""Libraries that ask for CUDA by name where they mean the device: for state in host memory, nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def on_host(device: str) -> Iterator[None]:
    """While it lasts, waiting for the device is nothing, where there is none. Does nothing for a real device."""
    import torch

    if device != "cpu":
        yield
        return

    def nothing(*_: object, **__: object) -> None:
        return

    with patch.object(torch.cuda, "synchronize", nothing), patch.object(torch.cuda, "current_device", lambda: "cpu"):
        yield
