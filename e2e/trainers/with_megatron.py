"""Training with megatron-core: GPTModel, its parallel state, schedules, gradient buffers and optimizers.

Megatron is imported inside functions: on a machine without a GPU its placement is redirected first
(`clusters.accelerators.megatron_on_cpu`), which a process with a GPU never imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from e2e.asked import BETAS, CLIP, DECAY, EPSILON
from e2e.gradient_noise import ONE, Norms
from e2e.layout import check
from e2e.trainers import Refused, megatron_model, megatron_watch
from e2e.trainers.megatron_marks import Marks
from e2e.trainers.megatron_refusals import refuse

if TYPE_CHECKING:
    from megatron.core.distributed import DistributedDataParallel
    from megatron.core.optimizer import MegatronOptimizer
    from megatron.core.transformer.transformer_config import TransformerConfig

    from e2e.asked import Asked
    from e2e.trainers import Phase

Loss = Callable[[Tensor], tuple[Tensor, Tensor]]


def build(asked: Asked, device: torch.device) -> MegatronTrainer:
    """The trainer. Refused, on every rank alike and before any group is made, for what megatron-core cannot do."""
    accumulate = check(asked.model, asked.layout, dist.get_world_size(), asked.batch, asked.micro, asked.sequence)
    refuse(asked)
    placed = redirected() if device.type == "cpu" else ()
    config = megatron_model.configuration(asked, fused=device.type != "cpu")
    megatron_model.attend(config)
    begin(asked)
    return MegatronTrainer(asked, device, accumulate, config, placed)


def redirected() -> tuple[str, ...]:
    """What a record says of placement. Refused where it is too late, or where there is a GPU after all."""
    from clusters.accelerators import megatron_on_cpu

    try:
        return (megatron_on_cpu.redirect(),)
    except RuntimeError as error:
        raise Refused(f"megatron-core on the host: {error}") from error


def begin(asked: Asked) -> None:
    """The groups of ranks, and a random state for each kind of parallelism."""
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

    layout = asked.layout
    parallel_state.initialize_model_parallel(
        layout.tensor, layout.pipeline, context_parallel_size=layout.context,
        expert_model_parallel_size=layout.expert, create_gloo_process_groups=False,
    )  # fmt: skip
    model_parallel_cuda_manual_seed(asked.seed)


class MegatronTrainer:
    """A stage of the model on each rank, in one schedule with the others."""

    def __init__(
        self, asked: Asked, device: torch.device, accumulate: int, config: TransformerConfig, placed: tuple[str, ...]
    ) -> None:  # fmt: skip
        from megatron.core import parallel_state
        from megatron.core.pipeline_parallel import get_forward_backward_func

        self.asked, self.device, self.accumulate, self.config = asked, device, accumulate, config
        self.data_rank: int = parallel_state.get_data_parallel_rank()
        self.data_ranks: int = parallel_state.get_data_parallel_world_size()
        self.network = megatron_model.build(asked, config, device)
        self.model = self._wrapped()
        self.optimizer = self._optimizer()
        self._schedule = get_forward_backward_func()
        self._marks = Marks()
        self.norms: Norms | None = None
        self._wire()
        self.notes = placed + self._said()

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    @property
    def _shared(self) -> bool:
        """Whether the optimizer's states are shared out over data ranks."""
        return self.asked.stage == 1

    @property
    def _several(self) -> bool:
        return self.data_ranks > 1

    def _wrapped(self) -> DistributedDataParallel:
        """Its gradients in one buffer, float32, exchanged while backward goes on; parameters that another rank has
        updated are gathered while forward goes on."""
        from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
        from megatron.core.transformer.module import Float16Module

        config = DistributedDataParallelConfig(
            grad_reduce_in_fp32=True, overlap_grad_reduce=self._several, use_distributed_optimizer=self._shared,
            overlap_param_gather=self._shared and self._several,
        )  # fmt: skip
        inner = Float16Module(self.config, self.network) if self.config.bf16 else self.network
        return DistributedDataParallel(self.config, config, inner)

    def _optimizer(self) -> MegatronOptimizer:
        from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

        config = OptimizerConfig(
            optimizer="adam", lr=self.asked.learning_rate, weight_decay=DECAY, adam_beta1=BETAS[0],
            adam_beta2=BETAS[1], adam_eps=EPSILON, clip_grad=CLIP, bf16=self.config.bf16,
            params_dtype=self.config.params_dtype, use_distributed_optimizer=self._shared,
            overlap_param_gather=self._shared and self._several,
        )  # fmt: skip
        made = get_megatron_optimizer(config, [self.model], use_gloo_process_groups=False)
        for group in made.param_groups:  # Megatron-LM's scheduler does so at every step; the rate is constant here
            group["weight_decay"] = DECAY * group["wd_mult"]
        return made

    def _wire(self) -> None:
        """What the schedule asks the configuration for."""
        from megatron.core.distributed import finalize_model_grads

        self.config.finalize_model_grads_func = finalize_model_grads
        self.config.grad_scale_func = self.optimizer.scale_loss
        self.config.timers = self._marks
        if self._several:
            self.config.no_sync_func = self.model.no_sync

    def _said(self) -> tuple[str, ...]:
        from megatron.core import optimizer

        said = [megatron_model.words()]
        if optimizer.USING_PYTORCH_OPTIMIZER:
            said.append("AdamW is torch's: neither Transformer Engine's nor Apex's fused one is installed")
        if self.config.bf16:
            said.append("float32 weights of the optimizer begin at the bfloat16 values of the model's")
        if dist.get_world_size() > 1:
            said.append("what is left of the exchange of gradients after backward is in no phase")
        return tuple(said)

    def step(self, tokens: Tensor, phase: Phase) -> Tensor:
        self._marks.phase = phase
        micros = torch.split(tokens, self.asked.micro)
        losses = self._schedule(
            forward_step_func=self._forward, data_iterator=iter(micros), model=[self.model],
            num_microbatches=self.accumulate, seq_length=self.asked.sequence, micro_batch_size=self.asked.micro,
        )  # fmt: skip
        with phase("optimizer"):
            norm = self.optimizer.step()[1]
            if self.norms is not None:
                self.norms.observe_square(self._first.take(), 1 / self.accumulate)
                self.norms.observe_norm(torch.as_tensor(norm, dtype=torch.float32, device=self.device))
            self.model.zero_grad_buffer()
            self.optimizer.zero_grad()
        return torch.stack(losses).mean() if losses else torch.zeros((), device=self.device)

    def watch(self) -> Norms | str:
        """Each data rank's own gradient of its first micro-batch, from autograd, before it is added to megatron's
        buffer; and what clipping found."""
        asked, layout = self.asked, self.asked.layout
        if self.accumulate == 1 and not self._several:
            return ONE
        if layout.expert > 1:
            return "an expert's gradient is of tokens of several ranks, and other weights' of one rank's: use expert=1"
        if layout.context > 1:
            return "each context rank has the gradient of a part of every sequence only: use context=1"
        if asked.model.tied and layout.pipeline > 1:
            return "a tied output lies on two stages, of which each has a part of its gradient only: use pipeline=1"
        self._first, data = megatron_watch.firsts(self.parameters, layout)
        self.norms = Norms(asked.micro, asked.batch, ranks=data if self._several else None)
        return self.norms

    def _forward(self, micros: Iterator[Tensor], model: nn.Module) -> tuple[Tensor, Loss]:
        """What this stage makes of the next micro-batch; the last stage gives each token's loss."""
        whole = next(micros)
        places = torch.arange(self.asked.sequence, device=whole.device).expand(len(whole), -1)
        batch = {"tokens": whole[:, :-1], "labels": whole[:, 1:].contiguous(), "places": places}
        if self.asked.layout.context > 1:
            from megatron.core.utils import get_batch_on_this_cp_rank

            batch = get_batch_on_this_cp_rank(batch)
        return model(batch["tokens"], batch["places"], None, labels=batch["labels"]), self._loss

    def _loss(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over this rank's tokens. The schedule has the mean over micro-batches of the first; of context
        ranks, each with its part of a sequence, it has the sum."""
        mean = losses.float().mean()
        return mean / self.asked.layout.context, mean.detach().clone()

    def close(self) -> None:
        """Forget the groups, so that others can be made."""
        from megatron.core import parallel_state

        parallel_state.destroy_model_parallel()
