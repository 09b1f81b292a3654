"""Tokens to train on, the same whatever the layout: a sequence follows from the seed and its number alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIDES, NOISE = 8, 0.1  # a sequence counts up by one of these strides; this share of its tokens is drawn instead


def sequences(seed: int, first: int, count: int, length: int, vocabulary: int) -> NDArray[np.int64]:
    """Sequences `first` to `first + count` of an endless data set: (count, length). Each counts up by a stride of its
    own from a start of its own, with tokens drawn in between, so that a model learns from them within a few steps: a
    trainer whose gradients were wrong would show. Nothing is known of text; what is timed does not depend on it."""
    rows = np.empty((count, length), dtype=np.int64)
    for row in range(count):
        draw = np.random.Generator(np.random.Philox(key=[seed, first + row]))
        start, stride = draw.integers(vocabulary), draw.integers(1, STRIDES + 1)
        rows[row] = (start + stride * np.arange(length)) % vocabulary
        other = draw.random(length) < NOISE
        rows[row, other] = draw.integers(vocabulary, size=int(other.sum()))
    return rows


def batch(seed: int, step: int, whole: int, rank: int, ranks: int, length: int, vocabulary: int) -> NDArray[np.int64]:
    """Data rank `rank`'s share of step `step`, of `whole` sequences in all: (whole / ranks, length)."""
    each = whole // ranks
    return sequences(seed, step * whole + rank * each, each, length, vocabulary)
