"""What a step's forward must keep for its backward, at the least: for refusing what surely has no room.

Korthikanti et al. (arXiv 2205.05198, section 4) count 34sbh B a layer in 16 bits, and 5as²b more for scores of
attention that are kept: with selective recomputation 34sbh, with full 2sbh. Tensor parallelism divides 24 of the 34,
with sequence parallelism all. Their 34 are those of GPT with dropout: here it is their terms for any model of this
project, so grouped queries, a gate and active experts count, and less what some kernel does without: masks of dropout,
which no model here has, scores, and the outputs of norms. That leaves 28sbh of GPT's.
"""

from __future__ import annotations

from e2e.asked import Asked
from harness.models import Model

LOGIT = 4  # B: cross-entropy is in float32


def least(asked: Asked, layers: int, ranks: int) -> float:
    """B on the rank that keeps most, of a model with so many layers in all: the first stage of a pipeline, which has as
    many micro-batches under way as there are stages (1F1B), or all of a step; else any rank, logits included."""
    layout = asked.layout
    item = 4 if asked.dtype == "float32" else 2
    tokens = asked.sequence * asked.micro / layout.context
    outer, inner = _layer(asked)
    if asked.recompute == "full" or asked.compile:  # a compiler decides by itself what to work out again
        between = outer / 2 * layers + (0 if asked.compile else outer / 2 + inner)  # the layer that is worked out again
    else:
        between = (outer + inner) * layers
    if layout.pipeline > 1:
        micros = asked.batch / (layout.data(ranks) * asked.micro)
        return tokens * item * between * min(1.0, micros / layout.pipeline)
    return tokens * (item * between + LOGIT * asked.model.vocabulary / layout.tensor)


def _layer(asked: Asked) -> tuple[float, float]:
    """Elements a token and rank: of the two inputs of norms, which tensor ranks share with sequence parallelism only;
    of what lies inside of attention and feed-forward, which they always do."""
    model, layout = asked.model, asked.layout
    outer = 2.0 * model.hidden / (layout.tensor if layout.sequence else 1)
    return outer, (_attention(model) + _feed_forward(model)) / layout.tensor


def _attention(model: Model) -> int:
    """Queries, keys, values, and what the projection takes."""
    return 2 * model.head_dim * (model.heads + model.kv_heads)


def _feed_forward(model: Model) -> int:
    """What the activation takes, of gate and up where there is one, and what the last product takes."""
    return model.active * model.ffn * (3 if model.gated else 2)
