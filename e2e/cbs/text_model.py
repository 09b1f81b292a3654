"""The text task in numbers, known before torch is: what the small model is, what its losses lie between."""

from __future__ import annotations

import math

from harness.models import Model

VOCABULARY = 512  # pieces: small, so that a small model spends its weights on language and not on a table
UNIFORM = math.log(VOCABULARY)  # nats a token: the loss of a model that knows nothing
TARGET = 3.8  # nats a token; the small model is there well before it has gone once through the text
RATE = 0.016  # of AdamW, for the largest batch of the sweep
LIMIT = 2000  # steps

SMALL = Model(
    title="a decoder of fifty thousand weights",
    source="made up: the proportions of Llama 3 at a width of 32, so that a run takes seconds on one core",
    layers=2, hidden=32, heads=2, kv_heads=1, head_dim=16, ffn=88, vocabulary=VOCABULARY, context=1 << 16,
)  # fmt: skip
