# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny mixtures of experts with random weights."""

from __future__ import annotations

import pytest
import torch
import transformers

GROUP = 32
IDS = torch.arange(24)[None] * 5 % 128
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 128,
    "tie_word_embeddings": False,
}  # fmt: skip
CONFIGS = {
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, intermediate_size=96, num_local_experts=4),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, intermediate_size=96, moe_intermediate_size=64, num_experts=8, num_experts_per_tok=4, head_dim=32
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **SIZES, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2, head_dim=32,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "deepseek_v2": lambda: transformers.DeepseekV2Config(
        **SIZES, intermediate_size=96, moe_intermediate_size=64, n_routed_experts=8, num_experts_per_tok=2,
        n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=32, q_lora_rank=None, qk_nope_head_dim=32,
        qk_rope_head_dim=32, v_head_dim=32, topk_method="greedy",
    ),
}  # fmt: skip
every_model = pytest.mark.parametrize("kind", list(CONFIGS))


def make(kind: str, dtype: torch.dtype = torch.float32, **sizes: int) -> torch.nn.Module:
    """A tiny model with random weights that make logits differ; sizes are others of the config."""
    torch.manual_seed(7)
    config = CONFIGS[kind]()
    vars(config).update(sizes)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=1.2 / config.hidden_size**0.5)
    return model


def privacy_filter() -> torch.nn.Module:
    """A tiny model that wants transformers' eager experts."""
    config = transformers.OpenAIPrivacyFilterConfig(
        **SIZES, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2,
        head_dim=32, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return transformers.OpenAIPrivacyFilterForTokenClassification(config).eval()


def experts_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if name.endswith(".experts")}


def logits(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits.float()


def routed(module: torch.nn.Module, tokens: int, slots: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows that are exact in bfloat16, ids of different experts, weights."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, 64, generator=generator).bfloat16().float()
    count = len(module.get_buffer("gate_packed"))
    ids = torch.stack([torch.randperm(count, generator=generator)[:slots] for _ in range(tokens)])
    return x, ids, torch.rand(tokens, slots, generator=generator)


class Routing:
    """What the experts of a model were given: which of them, with which weights. A near tie may go either way."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def logits(self, model: torch.nn.Module, ids: torch.Tensor, replay: bool) -> torch.Tensor:
        """Of one run of the model, whose routing is kept, or, to replay it, is the one that was kept."""
        calls = iter(self.calls if replay else ())

        def hook(module, given):
            if replay:
                return (given[0], *next(calls))
            self.calls.append(given[1:])
            return None

        handles = [module.register_forward_pre_hook(hook) for module in experts_of(model).values()]
        try:
            return logits(model, ids)
        finally:
            for handle in handles:
                handle.remove()
