# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Architectures of GGUF files whose weights transformers could keep packed, and unpacks by itself.

It knows only for a few newer ones which of its names stand for which of the file's.
"""

from __future__ import annotations

import re
from typing import Any

import torch

_GATES, _UPS = ".ffn_gate_exps.weight", ".ffn_up_exps.weight"


def _decoder(names: dict[str, str]) -> list[Any]:
    """What transformers needs to keep the weights of a decoder packed, whose file has these names for others."""
    from transformers.core_model_loading import WeightRenaming
    from transformers.integrations.gguf.gguf_conversion_mapping import DENSE_DECODER_RENAMINGS

    norms = {
        r"^output_norm\.": "model.norm.",
        r"\.attn_norm\.": ".input_layernorm.",
        r"\.ffn_norm\.": ".post_attention_layernorm.",
    }
    return [*DENSE_DECODER_RENAMINGS, *(WeightRenaming(pattern, name) for pattern, name in {**norms, **names}.items())]


def _experts() -> list[Any]:
    """The same of the routers and experts of a mixture: gate and up are one weight in the model, gate first."""
    from transformers.core_model_loading import WeightConverter, WeightRenaming
    from transformers.integrations.gguf.gguf_conversion_mapping import ConcatenateRows

    return [
        WeightRenaming(r"\.ffn_gate_inp\.", ".mlp.gate."),
        WeightRenaming(r"\.ffn_down_exps\.weight", ".mlp.experts.down_proj"),
        WeightConverter(
            source_patterns=[re.escape(_GATES), re.escape(_UPS)],
            target_patterns=".mlp.experts.gate_up_proj",
            operations=[ConcatenateRows(dim=1)],
        ),
    ]


def _qwen3_moe(config: Any) -> list[Any]:
    """A Qwen3-MoE, with norms of the heads."""
    return [
        *_decoder({r"\.attn_q_norm\.": ".self_attn.q_norm.", r"\.attn_k_norm\.": ".self_attn.k_norm."}),
        *_experts(),
    ]


def _llama(config: Any) -> list[Any]:
    """A Llama, or a Mixtral, which has the same architecture in a file.

    llama.cpp interleaves the two halves of each head's rows in the query and key projections, and of their biases.
    """
    from transformers.core_model_loading import WeightConverter
    from transformers.integrations.gguf.gguf_conversion_mapping import PermuteRows

    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    mapping = [*_decoder({}), *(_experts() if config.model_type == "mixtral" else ())]
    for part, count in heads.items():
        rows = torch.arange(count * head_dim, device="cpu").reshape(count, head_dim // 2, 2).transpose(1, 2).reshape(-1)
        for name in (f"self_attn.{part}_proj.weight", f"self_attn.{part}_proj.bias"):
            mapping.append(WeightConverter(source_patterns=name, target_patterns=name, operations=[PermuteRows(rows)]))
    return mapping


def differing_gate(header: Any) -> tuple[str, str] | None:
    """The names of a gate of experts, and of its up of another type, with which it is one weight in the model."""
    kinds = header.ggml_types
    pairs = ((name, name.replace(_GATES, _UPS)) for name in kinds if name.endswith(_GATES))
    return next(((gate, up) for gate, up in pairs if kinds.get(up, kinds[gate]) != kinds[gate]), None)


ARCHITECTURES = {"llama": _llama, "qwen3moe": _qwen3_moe}
# Those of which transformers' older way, that unpacks each tensor by its own type, knows the experts.
UNPACKED_EXPERTS = frozenset({"qwen3moe"})
