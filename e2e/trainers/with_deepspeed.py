"""Training with DeepSpeed: ZeRO 0 to 3 (Rajbhandari et al., arXiv 1910.02054), its AutoTP, its Muon, its offload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import groups
from torch import Tensor, nn

from e2e import network
from e2e.asked import BETAS, DECAY, EPSILON
from e2e.first_gradients import Firsts, Lies
from e2e.gradient_noise import ONE, Norms
from e2e.layout import check
from e2e.trainers import Refused
from e2e.trainers.deepspeed_config import built, configuration
from e2e.trainers.torch_kernels import kernels

if TYPE_CHECKING:
    from e2e.asked import Asked
    from e2e.trainers import Phase

MOMENTUM = 0.95  # of Muon (Jordan et al., 2024), torch's and DeepSpeed's default


def build(asked: Asked, device: torch.device) -> DeepspeedTrainer:
    """The trainer. Refused for what DeepSpeed cannot do, or not with this network."""
    _refuse(asked)
    accumulate = check(asked.model, asked.layout, dist.get_world_size(), asked.batch, asked.micro, asked.sequence)
    return DeepspeedTrainer(asked, device, accumulate)


def _refuse(asked: Asked) -> None:
    layout = asked.layout
    if layout.expert > 1:
        raise Refused("DeepSpeed shares out experts that are its own layers (deepspeed.moe), not this network's; "
                      "megatron shares these out")  # fmt: skip
    if layout.context > 1 or layout.sequence:
        raise Refused("DeepSpeed shares out sequences with an attention of its own (Ulysses, deepspeed.sequence), not "
                      "with this network's; megatron has sequence and context parallelism")  # fmt: skip
    if layout.pipeline > 1:
        raise Refused("DeepSpeed's pipeline engine does forward, backward and update in one call, so a step could not "
                      "be taken apart; torch and megatron have pipelines")  # fmt: skip
    if asked.dtype == "float8":
        raise Refused("DeepSpeed trains in float32, float16 and bfloat16; it has no products in float8")
    if asked.optimizer == "adafactor":
        raise Refused("DeepSpeed has no Adafactor, and its ZeRO would hand torch's flat shards without rows or columns")
    if asked.offload != "none" and asked.stage == 0:
        raise Refused("DeepSpeed offloads optimizer states that ZeRO holds: stage 1, 2 or 3, not 0")
    if asked.optimizer == "muon" and layout.tensor > 1:
        raise Refused("Muon orthogonalises whole matrices, and AutoTP leaves a rank parts of them: use tensor=1")
    if layout.tensor > 1 and asked.model.experts > 1:
        raise Refused("DeepSpeed's AutoTP divides linear layers, not this network's experts; megatron divides these")


class DeepspeedTrainer:
    """An engine of deepspeed.initialize, and steps with it as its users write them: forward, backward, step."""

    def __init__(self, asked: Asked, device: torch.device, accumulate: int) -> None:
        self.asked, self.device = asked, device
        tensor = asked.layout.tensor  # neighbours, as DeepSpeed's groups have them
        self.data_rank, self.data_ranks = dist.get_rank() // tensor, dist.get_world_size() // tensor
        compiled = asked.optimizer == "adamw" and built(asked.offload != "none")
        self.config = configuration(asked, accumulate, compiled)
        deepspeed.init_distributed()  # it takes the process group that there is
        held = self._network()
        groups = _groups(held, asked)
        optimizer = _muon(groups) if asked.optimizer == "muon" else None
        self.engine: Any = deepspeed.initialize(
            model=held, model_parameters=groups if optimizer is None else None, optimizer=optimizer, config=self.config
        )[0]
        self._inner = _innermost(self.engine)
        if self._empty_step:
            self._inner.state.clear()
        if asked.compile:
            self.engine.compile()
        self.notes = tuple(self._notes())
        self.accumulate = accumulate
        self.norms: Norms | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """At stage 3 a parameter is empty between its uses, and its shard is `ds_tensor`."""
        return list(self.engine.module.parameters())

    def _network(self) -> network.Network:
        """Drawn. At stage 3 each weight is shared out as soon as it is made, and gathered again to be filled."""
        asked = self.asked
        if asked.stage < 3 or asked.layout.tensor > 1:
            with torch.device(self.device):
                held = network.Network(asked.model, asked.recompute)
            network.fill(held, asked.seed)
            return held
        with deepspeed.zero.Init(config_dict_or_path=self.config):
            held = network.Network(asked.model, asked.recompute)
        for name, each in held.named_parameters():
            with deepspeed.zero.GatheredParameters([each], modifier_rank=0), torch.no_grad():
                if dist.get_rank() == 0:
                    each.copy_(network.draw(name, tuple(each.shape), asked.seed, each.device))
        return held

    @property
    def _empty_step(self) -> bool:
        """DeepSpeed makes Adam's states by a step with zero gradients, which counts: the first update would be 0.735
        of what it has to be (0.1 / (1 - 0.9^2) over the root of 0.05 / (1 - 0.95^2)). The states are forgotten."""
        return self.asked.stage == 0 and self.asked.dtype == "bfloat16"

    def _notes(self) -> Iterator[str]:
        """What differs from other trainers, or depends on this machine."""
        asked, kind = self.asked, type(self._inner)
        yield f"DeepSpeed {deepspeed.__version__}, stage {asked.stage}, updates by {kind.__module__}.{kind.__name__}"
        if asked.dtype == "bfloat16":
            yield "float32 weights begin from values rounded to bfloat16, and gradients are exchanged in bfloat16"
        if self._empty_step:
            yield "gradients of micro-batches are summed in bfloat16, as DeepSpeed does at stage 0"
        if asked.optimizer == "muon" and asked.stage:
            yield "clipping is by the norm of Muon's update, not of the gradient, as DeepSpeed does at stages 1 to 3"
        if asked.layout.tensor > 1:
            yield "embedding and output are whole on each tensor rank, which all compute them"

    def step(self, tokens: Tensor, phase: Phase) -> Tensor:
        with kernels(self.asked.kernel):
            return self._step(tokens, phase)

    def _step(self, tokens: Tensor, phase: Phase) -> Tensor:
        total = torch.zeros((), device=self.device)
        micros = torch.split(tokens, self.asked.micro)
        for micro in micros:
            with phase("forward"):
                loss = network.mean_loss(self.engine(micro[:, :-1]), micro[:, 1:])
            with phase("backward"):
                self.engine.backward(loss)  # it divides by the micro-batches
            total += loss.detach() / len(micros)
            with phase("optimizer"):
                self._update(micro is micros[-1])
        return total

    def _update(self, last: bool) -> None:
        """After each micro-batch; the engine updates after the last of a step only."""
        if self.norms is None or not last:
            self.engine.step()
            return
        self.norms.observe_square(self._first.take(), 1 / self.accumulate)
        norm = self._first.now().sqrt() if self._plain else None
        self.engine.step()
        known = self.engine.get_global_grad_norm() if norm is None else norm
        self.norms.observe_norm(torch.as_tensor(known, dtype=torch.float32, device=self.device))

    @property
    def _plain(self) -> bool:
        """Torch's own optimizer over gradients that lie in the parameters; the engine keeps no norm of them."""
        return self.asked.stage == 0 and self.asked.dtype == "float32"

    def watch(self) -> Norms | str:
        """Each data rank's own gradient of its first micro-batch, from autograd, since every stage keeps it in another
        way; and what clipping found."""
        asked = self.asked
        if self.accumulate == 1 and self.data_ranks == 1:
            return ONE
        if asked.optimizer == "muon" and asked.stage:
            return "DeepSpeed's Muon at stages 1 to 3 tells the norm of its update, not of the gradient: use stage 0"
        parts = [groups.get_tensor_model_parallel_group()] if asked.layout.tensor > 1 else []
        self._first = Firsts(self.parameters, parts, self._lies)
        group = groups._get_data_parallel_group() if self.data_ranks > 1 else None
        self.norms = Norms(asked.micro, asked.batch, ranks=group)
        return self.norms

    def _lies(self, one: nn.Parameter) -> Lies:
        """AutoTP marks what it divides."""
        return Lies() if getattr(one, "tensor_model_parallel", False) else Lies(self.asked.layout.tensor)

    def close(self) -> None:
        self.engine.destroy()


def _innermost(engine: Any) -> torch.optim.Optimizer:  # noqa: ANN401
    """The one that updates, inside what DeepSpeed wraps around it."""
    held = engine.optimizer
    while hasattr(held, "optimizer"):
        held = held.optimizer
    return held  # type: ignore[no-any-return]


def _groups(held: network.Network, asked: Asked) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not, by the shapes of the whole model: a shard has none of its own."""
    ranks = {name: len(shape) for name, shape in network.shapes(asked.model).items()}
    split: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, each in held.named_parameters():
        inner = asked.optimizer == "muon" and name.startswith("layers.") and ranks[name] == 2
        split.setdefault((inner, ranks[name] >= 2), []).append(each)
    return [
        {"params": each, "weight_decay": DECAY if decays else 0.0, "lr": asked.learning_rate, "use_muon": inner}
        for (inner, decays), each in split.items()
    ]


def _muon(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """DeepSpeed's Muon, as an object: by its configuration it would take every matrix whose name does not say embed or
    lm_head, the output's and experts' stacks too. Here it takes the matrices inside the layers (Jordan et al., Muon,
    2024), and AdamW the rest, as with the other trainers."""
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    for group in groups:
        group |= {"momentum": MOMENTUM} if group["use_muon"] else {"betas": BETAS, "eps": EPSILON}
        for each in group["params"]:
            each.use_muon = group["use_muon"]
    return MuonWithAuxAdam(groups, adam_optimizer=torch.optim.AdamW)  # type: ignore[no-any-return]
