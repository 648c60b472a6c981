# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' linears that keep the blocks of a GGUF file.

    Q4_0   18 bytes per block of 32: f16 d, 16 bytes of codes              W = d * (code - 8)
    Q4_1   20 bytes per block of 32: f16 d, f16 m, 16 bytes of codes       W = d * code + m

The low halves of the bytes are the codes 0..15 of a block, the high halves the codes 16..31.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from zenwoq._weight import WeightParts
from zenwoq.torch._report import LayerReport

_BLOCK = 32
_Q4_0, _Q4_1 = 2, 3
BLOCK_BYTES = {_Q4_0: 18, _Q4_1: 20}
_NAMES = {_Q4_0: "Q4_0", _Q4_1: "Q4_1"}


def _is_a(module: torch.nn.Module, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(module).__mro__)


def is_gguf_linear(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufLinear."""
    return _is_a(module, "GgufLinear")


def is_gguf_embedding(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufEmbedding, which goes on reading its blocks when they are packed for a linear."""
    return _is_a(module, "GgufEmbedding")


_SLOW = "slow: the blocks are unpacked at every call"


def cost(module: torch.nn.Module) -> str:
    """What to add to the reason why a linear stays as it is."""
    return f"; {_SLOW}" if is_gguf_linear(module) else ""


def experts_in_blocks(model: torch.nn.Module) -> list[LayerReport]:
    """Reports of transformers' stacked experts, which are no linears and stay in their blocks."""
    reports = []
    for name, module in model.named_modules():
        if _is_a(module, "GgufExperts"):
            kinds = {
                _NAMES.get(int(kind), f"type {int(kind)}"): None for kind in (module.gate_up_type, module.down_type)
            }
            size = sum(parameter.nbytes for parameter in module.parameters())
            reports.append(LayerReport(name, None, f"gguf {', '.join(kinds)}", size, size, False, f"experts; {_SLOW}"))
    return reports


def is_in_gguf_blocks(module: torch.nn.Module) -> bool:
    """Whether it is any of transformers' modules whose weight keeps the blocks of a GGUF file."""
    return is_gguf_linear(module) or is_gguf_embedding(module) or _is_a(module, "GgufExperts")


def values_of_embedding(module: Any) -> torch.Tensor:
    """The table ``[num_embeddings, embedding_dim]`` of a GgufEmbedding, as it computes it."""
    with torch.no_grad():
        values: torch.Tensor = module.forward(torch.arange(module.num_embeddings))
        return values


def describe(module: Any) -> str:
    """For example ``"gguf Q4_1"``."""
    return f"gguf {_NAMES.get(int(module.ggml_type), f'type {int(module.ggml_type)}')}"


def open_linear(module: Any) -> tuple[str, Callable[[], WeightParts] | None]:
    """The reason why it is left alone, or the function that reads it."""
    kind = int(module.ggml_type)
    if kind not in BLOCK_BYTES:
        return f"gguf type {kind}, only Q4_0 and Q4_1 are supported", None
    if getattr(module, "input_permutation", None) is not None:
        return "its input is permuted", None
    n, k = module.out_features, module.in_features
    blocks = module.weight.detach()
    if k % _BLOCK != 0 or blocks.shape != (n, k // _BLOCK * BLOCK_BYTES[kind]):
        return f"blocks of shape {list(blocks.shape)} for {n} x {k}", None
    return "", lambda: _read(blocks, n, k, kind)


def _read(blocks: torch.Tensor, n: int, k: int, kind: int) -> WeightParts:
    block = blocks.reshape(n, k // _BLOCK, BLOCK_BYTES[kind])
    halves = 1 if kind == _Q4_0 else 2
    numbers = block[:, :, : 2 * halves].contiguous().view(torch.float16)
    packed = block[:, :, 2 * halves :]
    codes = torch.empty((n, k // _BLOCK, 2, _BLOCK // 2), dtype=torch.uint8)
    codes[:, :, 0] = packed & 15
    codes[:, :, 1] = packed >> 4
    return WeightParts(
        codes.view(n, k),
        numbers[:, :, 0].contiguous(),
        numbers[:, :, 1].contiguous() if kind == _Q4_1 else None,
        layout="u8",
        table="minus_8" if kind == _Q4_0 else "unsigned",
        group_size=_BLOCK,
    )
