# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' linears that keep the blocks of a GGUF file."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq.torch._given import Given, Unsupported, is_a
from zenwoq.torch._report import LayerReport

# The types that files of 4 bits have: their numbers in GGUF.
_NAMES = {
    2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k",
    20: "iq4_nl", 23: "iq4_xs",
}  # fmt: skip
PACKED = frozenset((2, 3, 12, 20, 23))  # that transformers keeps in blocks and that are read


def name_of(kind: Any) -> str:
    """``"q4_k"``; ``"type 99"`` of a type that has no name here."""
    return _NAMES.get(int(kind), f"type {int(kind)}")


def is_gguf_linear(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufLinear."""
    return is_a(module, "GgufLinear")


def is_gguf_embedding(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufEmbedding, which goes on reading its blocks when they are packed for a linear."""
    return is_a(module, "GgufEmbedding")


_SLOW = "slow: the blocks are unpacked at every call"


def cost(module: torch.nn.Module) -> str:
    """What to add to the reason why a linear stays as it is."""
    return f"; {_SLOW}" if is_gguf_linear(module) else ""


def experts_in_blocks(model: torch.nn.Module) -> list[LayerReport]:
    """Reports of transformers' stacked experts, which are no linears and stay in their blocks."""
    reports = []
    for name, module in model.named_modules():
        if is_a(module, "GgufExperts"):
            kinds = dict.fromkeys(name_of(kind) for kind in (module.gate_up_type, module.down_type))
            size = sum(parameter.nbytes for parameter in module.parameters())
            was = f"gguf {', '.join(kinds)}"
            reports.append(LayerReport(name, None, was, size, size, False, f"experts; {_SLOW}", stacked=True))
    return reports


def is_in_gguf_blocks(module: torch.nn.Module) -> bool:
    """Whether it is any of transformers' modules whose weight keeps the blocks of a GGUF file."""
    return is_gguf_linear(module) or is_gguf_embedding(module) or is_a(module, "GgufExperts")


def values_of_embedding(module: Any) -> torch.Tensor:
    """The table ``[num_embeddings, embedding_dim]`` of a GgufEmbedding, as it computes it."""
    with torch.no_grad():
        values: torch.Tensor = module.forward(torch.arange(module.num_embeddings))
        return values


def given(module: Any) -> Given:
    """The blocks of a linear. Raises Unsupported with the reason if they are not read."""
    kind = int(module.ggml_type)
    if kind not in PACKED:
        raise Unsupported(f"gguf {name_of(kind)} is not read")
    if getattr(module, "input_permutation", None) is not None:
        raise Unsupported("its input is permuted")
    return Given({"weight": module.weight}, block_type=name_of(kind), shape=(module.out_features, module.in_features))
