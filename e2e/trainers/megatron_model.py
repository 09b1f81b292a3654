"""A `harness.models.Model` as megatron-core's GPTModel: its configuration, its layers, its first weights.

Megatron is imported inside functions: on a machine without a GPU it has to find its placement redirected by then.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from e2e import network
from e2e.trainers import Refused, megatron_weights
from e2e.trainers.megatron_weights import Part, Share
from harness.models import layer

if TYPE_CHECKING:
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
    from megatron.core.transformer.transformer_config import TransformerConfig

    from e2e.asked import Asked, Recompute
    from harness.models import Model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
RECOMPUTED: dict[Recompute, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},  # the core of attention, unless told otherwise
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


def engine() -> bool:
    """Whether megatron finds Transformer Engine; else the layers are its own, of torch's operations."""
    from megatron.core.models.gpt import gpt_layer_specs

    found: bool = gpt_layer_specs.HAVE_TE
    return found


def configuration(asked: Asked, fused: bool) -> TransformerConfig:
    """A TransformerConfig. fused: bias and activation, and bias and residual, as one compiled function each, as
    Megatron-LM trains by default; compiling them on a host takes longer than it saves.

    Nothing is drawn by megatron: a method that leaves a weight as it is still has it marked as divided, which the
    norm of the gradients goes by."""
    from megatron.core.transformer.transformer_config import TransformerConfig

    model, layout, dtype = asked.model, asked.layout, DTYPES[asked.dtype]
    given: dict[str, Any] = {
        "num_layers": model.layers, "hidden_size": model.hidden, "ffn_hidden_size": model.ffn,
        "num_attention_heads": model.heads, "num_query_groups": model.kv_heads, "kv_channels": model.head_dim,
        "normalization": "LayerNorm" if model.norm == "layer" else "RMSNorm", "layernorm_epsilon": layer.EPSILON,
        "hidden_dropout": 0.0, "attention_dropout": 0.0, "add_bias_linear": model.biases,
        "gated_linear_unit": model.gated, "bias_dropout_fusion": fused, **_activation(model, fused),
        "init_method": _kept, "output_layer_init_method": _kept, "embedding_init_method": _kept,
        "params_dtype": dtype, "pipeline_dtype": dtype, "bf16": dtype == torch.bfloat16,
        "tensor_model_parallel_size": layout.tensor, "pipeline_model_parallel_size": layout.pipeline,
        "context_parallel_size": layout.context, "expert_model_parallel_size": layout.expert,
        "sequence_parallel": layout.sequence, "deallocate_pipeline_outputs": True,
        **RECOMPUTED[asked.recompute], **(_mixture(model) if model.experts > 1 else {}),
    }  # fmt: skip
    try:
        return TransformerConfig(**given)
    except (AssertionError, ValueError) as error:  # it checks what goes together
        raise Refused(f"megatron-core: {error}") from error


def attend(config: TransformerConfig) -> None:
    """Refused where the layers' attention cannot do what is asked. It needs no groups, so every rank finds out by
    itself, before others wait for it."""
    from megatron.core.transformer.dot_product_attention import DotProductAttention
    from megatron.core.transformer.enums import AttnMaskType

    if engine() or config.context_parallel_size == 1:
        return
    try:
        DotProductAttention(config, 1, AttnMaskType.causal, "self")
    except AssertionError as error:
        raise Refused(f"context={config.context_parallel_size}: megatron-core says: {error}") from error


def _activation(model: Model, fused: bool) -> dict[str, Any]:
    """Megatron's fused GELU is the tanh form, and needs a bias; its plain one is torch's, which has to be told."""
    if model.gated:
        return {"activation_func": functional.silu, "bias_activation_fusion": fused}
    if fused and model.biases:
        return {"activation_func": functional.gelu, "bias_activation_fusion": True}
    return {"activation_func": partial(functional.gelu, approximate="tanh"), "bias_activation_fusion": False}


def _mixture(model: Model) -> dict[str, Any]:
    """Every token goes to the experts it chose, none is dropped, no loss for balance: as `layer.route` has it. One
    chosen expert keeps its probability among all, several have theirs among the chosen."""
    return {
        "num_moe_experts": model.experts, "moe_ffn_hidden_size": model.ffn, "moe_router_topk": model.active,
        "moe_router_pre_softmax": model.active == 1, "moe_router_load_balancing_type": "none",
        "moe_token_dispatcher_type": "alltoall", "moe_grouped_gemm": engine(),
    }  # fmt: skip


def _kept(weight: Tensor) -> Tensor:
    return weight


def words() -> str:
    """What a record says of the layers."""
    if engine():
        return "layers of Transformer Engine"
    return "layers of megatron-core itself, attention of plain products: Transformer Engine is not installed"


def build(asked: Asked, config: TransformerConfig, device: torch.device) -> nn.Module:
    """This rank's stage of the model, its weights drawn."""
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_model import GPTModel

    model = asked.model
    held: nn.Module = GPTModel(
        config, _layers(model, config), model.vocabulary, max(model.context, asked.sequence),
        pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=model.tied, rotary_base=int(layer.BASE),
        position_embedding_type="rope" if model.positions == "rope" else "learned_absolute",
    )  # fmt: skip
    held.to(device)  # norms and places are made on the host
    shapes = network.shapes(model)

    def draw(name: str) -> Tensor:
        return network.draw(name, shapes[name], asked.seed, device)

    megatron_weights.fill(held.named_parameters(), model, _share(model), draw)
    return held


def _share(model: Model) -> Share:
    from megatron.core import parallel_state as at

    stages, experts = at.get_pipeline_model_parallel_world_size(), at.get_expert_model_parallel_world_size()
    return Share(
        Part(at.get_tensor_model_parallel_rank(), at.get_tensor_model_parallel_world_size()),
        Part(at.get_expert_tensor_parallel_rank(), at.get_expert_tensor_parallel_world_size()),
        at.get_pipeline_model_parallel_rank() * (model.layers // stages),
        at.get_expert_model_parallel_rank() * (model.experts // experts),
    )


def _layers(model: Model, config: TransformerConfig) -> TransformerBlockSubmodules:
    """Transformer Engine's layers where it is installed, else megatron's own."""
    from megatron.core.models.gpt import gpt_layer_specs as specs
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build

    experts = model.experts if model.experts > 1 else None
    if engine():
        return specs.get_gpt_layer_with_transformer_engine_spec(experts, moe_grouped_gemm=True)
    if experts:
        from megatron.core.transformer.moe import moe_utils

        if not hasattr(moe_utils, "te_general_gemm"):  # 0.16.1 looks at it, though only the engine defines it
            moe_utils.te_general_gemm = None
    spec = specs.get_gpt_layer_local_spec(experts, moe_grouped_gemm=False, normalization=config.normalization)
    spec.submodules.input_layernorm = spec.submodules.pre_mlp_layernorm = Norm
    return TransformerBlockSubmodules([spec] * get_num_layers_to_build(config), layer_norm=Norm)


class Norm:
    """Torch's norm, as megatron's own layers take it without Apex, which refuse it under sequence parallelism: their
    gradients are of a part of the sequence then, and are summed over tensor ranks if they are marked."""

    def __new__(  # type: ignore[misc]
        cls, config: TransformerConfig, hidden_size: int, eps: float = layer.EPSILON, **_: object
    ) -> nn.Module:
        kind = nn.LayerNorm if config.normalization == "LayerNorm" else nn.RMSNorm
        held = kind(hidden_size, eps=eps)
        for each in held.parameters():
            each.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
        return held
