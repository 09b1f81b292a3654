"""Small layers of every kind, and a context that has room for them."""

from __future__ import annotations

import msgspec
from microbench_stubs import StubAccelerator, context

from harness.models import Model, load
from microbench.gemm.asked import Asked

SMALL = msgspec.structs.replace(
    load("tiny"), layers=1, hidden=96, heads=6, kv_heads=2, head_dim=16, ffn=80, vocabulary=50
)  # fmt: skip

MODELS = {
    "llama": SMALL,
    "gpt": msgspec.structs.replace(SMALL, kv_heads=6, gated=False, norm="layer", positions="learned", biases=True),
    "moe": msgspec.structs.replace(SMALL, experts=4, active=2),
    "switch": msgspec.structs.replace(SMALL, experts=4, active=1),
}


def roomy(device="cpu", free=1 << 30, reason=None):
    return context(device, free, accelerator=StubAccelerator(reason=reason))


def asked(model: str | Model, dtype: str = "float32", sequence: int = 40, batch: int = 2) -> Asked:
    return Asked(MODELS[model] if isinstance(model, str) else model, sequence, batch, dtype)
