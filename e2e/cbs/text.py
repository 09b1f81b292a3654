"""A small language model on real text, trained by AdamW: the task whose critical batch size nobody has worked out.

Windows of the text are drawn without replacement, in an order that follows from the seed, so that up to one pass over
the text every sequence is new, as in Zhang et al. (arXiv 2410.21676); a run that needs more says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from torch import Tensor

from e2e.asked import BETAS, EPSILON
from e2e.cbs.averaging import share_of
from e2e.cbs.text_model import LIMIT, RATE, TARGET, VOCABULARY
from e2e.cbs.trials import Arrays, Pairs
from e2e.corpus import Tokens
from e2e.gradient_noise import Norms
from e2e.network import Network, fill, mean_loss
from harness.errors import Skip
from harness.models import Model

HELD = 64  # held-out sequences that a loss is taken over, spread over the whole held-out text
AT_ONCE = 16_384  # tokens of one forward: a larger batch is taken in parts
RATE_SCALING = 0.5  # of Adam's rate with the batch size (Malladi et al., arXiv 2205.10287)


@dataclass(frozen=True)
class Text:
    """train: windows (count, sequence + 1) int64, neighbours sharing one token; held: (HELD, sequence + 1)."""

    model: Model
    train: Tensor
    held: Tensor
    averaging: float
    seed: int
    initial: float = 0.0
    target: float = TARGET
    rate: float = RATE
    scaling: float = RATE_SCALING
    limit: int = LIMIT

    @classmethod
    def make(cls, model: Model, sequence: int, averaging: float, device: torch.device, seed: int) -> Text:
        """The task with that model, its vocabulary replaced by the text's; Skip where no tokenizer is installed."""
        from e2e import corpus

        try:
            parts = corpus.tokens(VOCABULARY)
        except ImportError as error:
            raise Skip(f"the text is cut into tokens by sentencepiece, which is not installed: {error}") from error
        model = msgspec.structs.replace(model, vocabulary=VOCABULARY)
        train, held = (torch.from_numpy(windows(part, sequence)).to(device) for part in parts)
        spread = torch.linspace(0, len(held) - 1, min(HELD, len(held))).long()
        task = cls(model, train, held[spread], averaging, seed)
        return replace(task, initial=task.begin(1, (seed, 0, 1)).loss())

    def begin(self, batch: int, seeds: Sequence[int]) -> Writing:
        return Writing(self, batch, tuple(seeds))


def windows(tokens: Tokens, sequence: int) -> Tokens:
    """(count, sequence + 1): the last token of a window is the first of the next."""
    count = (len(tokens) - 1) // sequence
    return np.lib.stride_tricks.sliding_window_view(tokens, sequence + 1)[: count * sequence : sequence].copy()


class Writing:
    """A run of AdamW, without decay and without clipping: neither then hides what the batch size does."""

    def __init__(self, task: Text, batch: int, seeds: tuple[int, ...]) -> None:
        self._task, self._batch = task, batch
        self._network = Network(task.model).to(task.train.device)
        weights_seed, order_seed = (int(value) for value in np.random.SeedSequence(seeds).generate_state(2))
        fill(self._network, weights_seed)
        self._order, self._order_seed, self._pass = np.empty(0, dtype=np.int64), order_seed, -1
        self.parameters: list[Tensor] = list(self._network.parameters())
        self._averaged = [one.detach().clone() for one in self.parameters]
        self._optimizer = torch.optim.AdamW(
            self.parameters, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True
        )
        self._norms = Norms(batch / 2, batch) if batch % 2 == 0 else None
        self._before: Pairs = (), ()  # of steps before a checkpoint
        self.passes = 0.0

    def step(self, number: int, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        chosen = self._sequences((number - 1) * self._batch)
        self.passes = number * self._batch / len(self._task.train)
        self._backward(chosen)
        self._optimizer.step()
        self._optimizer.zero_grad()
        torch._foreach_lerp_(self._averaged, self.parameters, share_of(number, self._task.averaging))

    def _backward(self, chosen: Tensor) -> None:
        """Gradients of the mean loss; the norm of the first half's on the way, where there are halves."""
        for number, half in enumerate(chosen.chunk(2) if self._norms is not None else (chosen,)):
            for part in torch.split(half, max(1, AT_ONCE // chosen.shape[1])):
                loss = mean_loss(self._network(part[:, :-1]), part[:, 1:]) * (len(part) / self._batch)
                loss.backward()  # type: ignore[no-untyped-call]
            if self._norms is not None and number == 0:
                self._norms.observe_small(self.parameters, scale=0.5)
        if self._norms is not None:
            self._norms.observe_big(self.parameters)

    def _sequences(self, first: int) -> Tensor:
        """`batch` windows from the `first` of the run's endless order: (batch, sequence + 1)."""
        count = len(self._task.train)
        places = np.arange(first, first + self._batch)
        chosen = np.empty(self._batch, dtype=np.int64)
        for which in np.unique(places // count):
            if which != self._pass:
                self._pass = int(which)
                self._order = np.random.default_rng([self._order_seed, self._pass]).permutation(count)
            mine = places // count == which
            chosen[mine] = self._order[places[mine] % count]
        return self._task.train[torch.from_numpy(chosen).to(self._task.train.device)]

    @torch.no_grad()
    def loss(self) -> float:
        """Mean over tokens, nats, with the averaged weights in place of the trained ones for as long as it takes."""
        held, total = self._task.held, 0.0
        trained = [one.detach().clone() for one in self.parameters]
        torch._foreach_copy_(self.parameters, self._averaged)
        for part in torch.split(held, max(1, AT_ONCE // held.shape[1])):
            total += mean_loss(self._network(part[:, :-1]), part[:, 1:]).item() * len(part)
        torch._foreach_copy_(self.parameters, trained)
        return total / len(held)

    def pairs(self) -> Pairs:
        small, big = self._norms.pairs() if self._norms is not None else ((), ())
        return self._before[0] + small, self._before[1] + big

    def state(self) -> Arrays:
        """Weights, their averages and AdamW's states, by place; squared norms."""
        held: dict[str, Tensor] = {}
        for place, (one, averaged) in enumerate(zip(self.parameters, self._averaged, strict=True)):
            held |= {f"{place}.weight": one.detach(), f"{place}.averaged": averaged}
            held |= {f"{place}.{name}": value for name, value in self._optimizer.state[one].items()}
        rest = {"passes": np.array(self.passes), "pairs": np.array(self.pairs())}
        return {name: value.detach().cpu().numpy() for name, value in held.items()} | rest

    @torch.no_grad()
    def restore(self, state: Arrays) -> None:
        self.passes = float(state["passes"])
        small, big = state["pairs"].tolist()
        self._before = tuple(small), tuple(big)
        for place, (one, averaged) in enumerate(zip(self.parameters, self._averaged, strict=True)):
            kept = {name.partition(".")[2]: torch.from_numpy(np.asarray(value)) for name, value in state.items()
                    if name.partition(".")[0] == str(place)}  # fmt: skip
            one.copy_(kept.pop("weight"))
            averaged.copy_(kept.pop("averaged"))
            self._optimizer.state[one] = {name: value.to(one.device) for name, value in kept.items()}
