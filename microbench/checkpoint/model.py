"""A small decoder-only transformer to train while checkpoints are made, and its shape for a wanted size of state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HEADS = 8
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
VOCABULARY = 1024
LAYERS = 4  # at least, so that state is in many tensors as in a real model
ADAM = 3 * 4  # B a parameter: itself and Adam's two moments, in float32


@dataclass(frozen=True)
class Sizes:
    """Width of the residual stream and number of layers."""

    width: int
    layers: int

    @property
    def parameters(self) -> int:
        """Counted exactly: embedding, head, final norm; of a layer two norms, four products of attention, three of
        the gated feed-forward with an inner width of 8/3 of the stream, in eighths of it."""
        return 2 * VOCABULARY * self.width + self.width + self.layers * self.layer

    @property
    def layer(self) -> int:
        return 2 * self.width + 4 * self.width**2 + 3 * self.width * inner(self.width)


def inner(width: int) -> int:
    """Inner width of the feed-forward: about 8/3 of the stream, a multiple of 8."""
    return width * 8 // 3 // 8 * 8


def sizes(state: int) -> Sizes:
    """The widest model of at least four layers whose parameters and moments take about `state` B. ValueError below
    the smallest."""
    for width in reversed(WIDTHS):
        one = Sizes(width, 0)
        layers = round((state / ADAM - one.parameters) / one.layer)
        if layers >= LAYERS:
            return Sizes(width, layers)
    least = Sizes(WIDTHS[0], LAYERS).parameters * ADAM
    raise ValueError(f"a state of {state} B is less than that of the smallest model: at least {least} B")


def build(shape: Sizes) -> torch.nn.Module:
    """The model on the current default device. Forward: tokens (batch, sequence) int64 to logits
    (batch, sequence, vocabulary)."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        """Pre-norm attention and gated feed-forward, each with a residual."""

        def __init__(self) -> None:
            super().__init__()
            width = shape.width
            self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.gate, self.up = (nn.Linear(width, inner(width), bias=False) for _ in range(2))
            self.down = nn.Linear(inner(width), width, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm1(x)
            q, k, v = (self._heads(part(y)) for part in (self.q, self.k, self.v))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.o(mixed.transpose(1, 2).flatten(2))
            y = self.norm2(x)
            return x + self.down(functional.silu(self.gate(y)) * self.up(y))  # type: ignore[no-any-return]

        def _heads(self, x: torch.Tensor) -> torch.Tensor:
            """(batch, sequence, part of the width) to (batch, heads of this rank, sequence, width of a head)."""
            heads = x.shape[-1] // (shape.width // HEADS)
            return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    class Transformer(nn.Module):
        """Embedding, blocks, norm, head."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, shape.width)
            self.blocks = nn.ModuleList(Block() for _ in range(shape.layers))
            self.norm = nn.RMSNorm(shape.width)
            self.head = nn.Linear(shape.width, VOCABULARY, bias=False)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))  # type: ignore[no-any-return]

    return Transformer()
