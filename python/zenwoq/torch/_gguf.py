# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' linears that keep the blocks of a GGUF file.

    Q4_0   18 bytes per block of 32: f16 d, 16 bytes of codes              W = d * (code - 8)
    Q4_1   20 bytes per block of 32: f16 d, f16 m, 16 bytes of codes       W = d * code + m

The low halves of the bytes are the codes 0..15 of a block, the high halves the codes 16..31.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from zenwoq._weight import WeightParts

_BLOCK = 32
_Q4_0, _Q4_1 = 2, 3
_BLOCK_BYTES = {_Q4_0: 18, _Q4_1: 20}
_NAMES = {_Q4_0: "Q4_0", _Q4_1: "Q4_1"}


def is_gguf_linear(module: torch.nn.Module) -> bool:
    """Whether it is transformers' GgufLinear."""
    return any(cls.__name__ == "GgufLinear" for cls in type(module).__mro__)


def is_in_gguf_blocks(module: torch.nn.Module) -> bool:
    """Whether it is any of transformers' modules whose weight keeps the blocks of a GGUF file."""
    return any(cls.__name__ in ("GgufLinear", "GgufEmbedding", "GgufExperts") for cls in type(module).__mro__)


def describe(module: Any) -> str:
    """For example ``"gguf Q4_1"``."""
    return f"gguf {_NAMES.get(int(module.ggml_type), f'type {int(module.ggml_type)}')}"


def open_linear(module: Any) -> tuple[str, Callable[[], WeightParts] | None]:
    """The reason why it is left alone, or the function that reads it."""
    kind = int(module.ggml_type)
    if kind not in _BLOCK_BYTES:
        return f"gguf type {kind}, only Q4_0 and Q4_1 are supported", None
    if getattr(module, "input_permutation", None) is not None:
        return "its input is permuted", None
    n, k = module.out_features, module.in_features
    blocks = module.weight.detach()
    if k % _BLOCK != 0 or blocks.shape != (n, k // _BLOCK * _BLOCK_BYTES[kind]):
        return f"blocks of shape {list(blocks.shape)} for {n} x {k}", None
    return "", lambda: _read(blocks, n, k, kind)


def _read(blocks: torch.Tensor, n: int, k: int, kind: int) -> WeightParts:
    block = blocks.reshape(n, k // _BLOCK, _BLOCK_BYTES[kind])
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


class _BlocksOnCpu:
    """Takes the place of transformers' GGUF kernel: says which types stay packed, and computes by unpacking.

    Once it is no longer active, newly loaded models see no kernel, while layers still in blocks go on working.
    """

    active = True

    def __bool__(self) -> bool:
        return self.active

    def supports(self, ggml_type: int) -> bool:
        return int(ggml_type) in _BLOCK_BYTES

    def mul_mat_vec(self, weight: torch.Tensor, x: torch.Tensor, ggml_type: int, out_features: int) -> torch.Tensor:
        from transformers.integrations.gguf.kernels import dequantize_blocks

        dense: torch.Tensor = dequantize_blocks(weight, ggml_type, out_features, x.shape[-1], x.dtype)
        return x @ dense.T


def _llama(config: Any) -> list[Any]:
    """What transformers needs to keep a Llama's weights packed; it has this only for a few newer architectures.

    llama.cpp interleaves the two halves of each head's rows in the query and key projections, and of their biases.
    """
    from transformers.core_model_loading import WeightConverter, WeightRenaming
    from transformers.integrations.gguf.gguf_conversion_mapping import DENSE_DECODER_RENAMINGS, PermuteRows

    norms = {
        r"^output_norm\.": "model.norm.",
        r"\.attn_norm\.": ".input_layernorm.",
        r"\.ffn_norm\.": ".post_attention_layernorm.",
    }
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    mapping: list[Any] = [*DENSE_DECODER_RENAMINGS, *(WeightRenaming(pattern, name) for pattern, name in norms.items())]
    for part, count in heads.items():
        rows = torch.arange(count * head_dim, device="cpu").reshape(count, head_dim // 2, 2).transpose(1, 2).reshape(-1)
        for name in (f"self_attn.{part}_proj.weight", f"self_attn.{part}_proj.bias"):
            mapping.append(WeightConverter(source_patterns=name, target_patterns=name, operations=[PermuteRows(rows)]))
    return mapping


@contextlib.contextmanager
def keep_gguf_packed() -> Iterator[None]:
    """While it is active, transformers keeps Q4_0 and Q4_1 weights of a GGUF file in their blocks.

    transformers unpacks them at load if it finds no kernel for the device, as on CPUs, or does not know how to keep
    them for the architecture (Llama is added here); then there is nothing left for :func:`optimize` to take over
    exactly::

        with zenwoq.torch.keep_gguf_packed():
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, attn_implementation="sdpa")
        zenwoq.torch.optimize(model)

    Layers that stay in blocks work without zenwoq too, but slowly. This changes settings of transformers that apply to
    all threads, so no other thread should load a GGUF file meanwhile.

    Raises:
        ImportError: this version of transformers has no packed GGUF layers.
    """
    try:
        from transformers.integrations.gguf import kernels
        from transformers.integrations.gguf.gguf_conversion_mapping import GGUF_ARCHS
        from transformers.integrations.gguf.utils import GgufLinear  # noqa: F401
    except ImportError as error:
        raise ImportError("this version of transformers has no packed GGUF layers") from error
    if not hasattr(kernels, "_gguf_kernel"):
        raise ImportError("this version of transformers chooses its GGUF kernel in a way that zenwoq does not know")
    before = kernels._gguf_kernel
    kernel = _BlocksOnCpu()
    kernels._gguf_kernel = kernel  # type: ignore[assignment]
    added = "llama" not in GGUF_ARCHS
    GGUF_ARCHS.setdefault("llama", _llama)
    try:
        yield
    finally:
        kernel.active = False
        if added:
            del GGUF_ARCHS["llama"]
        if before:
            kernels._gguf_kernel = before
