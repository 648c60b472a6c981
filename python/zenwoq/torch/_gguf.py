# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' linears that keep the blocks of a GGUF file."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq.torch._given import Given, Unsupported, is_a

# The types that files of 4 bits have: their numbers in GGUF.
_NAMES = {
    2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k",
    20: "iq4_nl", 23: "iq4_xs",
}  # fmt: skip
PACKED = frozenset((2, 3, 12, 20, 23))  # that transformers keeps in blocks and that are read
_INSTEAD_OF = "_zenwoq_instead_of"


def name_of(kind: Any) -> str:
    """``"q4_k"``; ``"type 99"`` of a type that has no name here."""
    return _NAMES.get(int(kind), f"type {int(kind)}")


def is_gguf_linear(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufLinear."""
    return is_a(module, "GgufLinear")


def is_gguf_embedding(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufEmbedding, which goes on reading its blocks when they are packed for a linear."""
    return is_a(module, "GgufEmbedding")


def cost(module: torch.nn.Module) -> str:
    """What to add to the reason why a linear, or experts, stay as they are."""
    return "; slow: the blocks are unpacked at every call" if is_gguf_linear(module) or is_gguf_experts(module) else ""


def is_gguf_experts(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufExperts."""
    return is_a(module, "GgufExperts")


def mark_experts(module: torch.nn.Module, instead_of: torch.nn.Module) -> None:
    """Lets a GgufExperts know the module, without values, that the model's class has in its place."""
    vars(module)[_INSTEAD_OF] = instead_of  # not a module inside of it


def experts_instead_of(module: torch.nn.Module) -> torch.nn.Module:
    """What :func:`mark_experts` told a GgufExperts. Raises Unsupported if nothing did."""
    found = vars(module).get(_INSTEAD_OF)
    if not isinstance(found, torch.nn.Module):
        raise Unsupported("loaded without zenwoq.torch.keep_gguf_packed")
    return found


def describe_experts(module: Any) -> str:
    """What the weights of a GgufExperts are: ``"gguf q4_k"``."""
    return f"gguf {', '.join(dict.fromkeys(name_of(kind) for kind in (module.gate_up_type, module.down_type)))}"


def is_in_gguf_blocks(module: torch.nn.Module) -> bool:
    """Whether it is any of transformers' modules whose weight keeps the blocks of a GGUF file."""
    return is_gguf_linear(module) or is_gguf_embedding(module) or is_gguf_experts(module)


def values_of_embedding(module: Any) -> torch.Tensor:
    """The table ``[num_embeddings, embedding_dim]`` of a GgufEmbedding, as it computes it."""
    with torch.no_grad():
        values: torch.Tensor = module.forward(torch.arange(module.num_embeddings))
        return values


def given(module: Any) -> Given:
    """The blocks of a linear. Raises Unsupported with the reason if they are not read."""
    made = given_of_rows(module.weight, module.ggml_type, module.in_features)
    if getattr(module, "input_permutation", None) is not None:
        raise Unsupported("its input is permuted")
    return made


def given_of_rows(blocks: torch.Tensor, kind: Any, in_features: int) -> Given:
    """Rows of blocks ``[out_features, bytes]``. Raises Unsupported with the reason if they are not read."""
    if int(kind) not in PACKED:
        raise Unsupported(f"gguf {name_of(kind)} is not read")
    return Given({"weight": blocks}, block_type=name_of(kind), shape=(len(blocks), in_features))
