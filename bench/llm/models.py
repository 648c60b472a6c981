# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The models that are measured, quantized by TorchAO or on zenwoq, and how they are compiled."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
import zenwoq.torch
from torchao.prototype.quantization import int4
from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup, quantize_
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SMOLLM2 = CACHE / "zenwoq" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_Q4_0 = SMOLLM2.with_name("SmolLM2-135M-Instruct.Q4_0.gguf")

# The last linear is dense. torch's kernel reads it at half the speed of memory; one of inductor's is not as slow.
LM_HEAD = {"max_autotune_gemm": True, "max_autotune_gemm_backends": "CPP,ATEN", "autotune_num_choices_displayed": 0}


def quantize(model: torch.nn.Module, weights: str, group_size: int) -> None:
    """Quantizes all linears but the last, as transformers' TorchAoConfig does.

    Args:
        model: in bf16.
        weights: ``"intx-group"``, ``"intx-channel"`` or ``"opaque"``.
        group_size: of the first and the last.
    """
    if weights == "opaque":
        # The class's names in torchao 0.18 and 0.17.
        opaque = getattr(int4, "PrototypeInt4WeightOnlyConfig", None) or int4.Int4WeightOnlyOpaqueTensorConfig
        config = opaque(group_size=group_size)
    else:
        config = IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            mapping_type=MappingType.SYMMETRIC,
            scale_dtype=torch.bfloat16,
            granularity={"intx-group": PerGroup(group_size), "intx-channel": PerAxis(0)}[weights],
        )
    quantize_(model, config, lambda layer, name: type(layer) is torch.nn.Linear and name != "lm_head")


def requantize_to_q4_0(source: Path, target: Path) -> None:
    """Writes a GGUF file again with its Q4_1 tensors as Q4_0, the format for which llama.cpp has its best kernels.

    Args:
        source: the file.
        target: is there whole or not at all.
    """
    reader = gguf.GGUFReader(source)
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            item_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], item_type)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == gguf.GGMLQuantizationType.Q4_1:
            kind = gguf.GGMLQuantizationType.Q4_0
            data = gguf.quants.quantize(gguf.quants.dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def smollm2(weights: str, on_zenwoq: bool, fuse: bool = True) -> Any:
    """SmolLM2-135M-Instruct in bf16, with linears "gguf" (as in the file), "bf16" (unpacked), or quantized anew.

    Only zenwoq runs the file's own 4-bit weights.
    """
    with zenwoq.torch.keep_gguf_packed() if weights == "gguf" else contextlib.nullcontext():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            SMOLLM2.parent, gguf_file=SMOLLM2.name, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    if weights not in ("gguf", "bf16"):
        quantize(model, weights, 64)  # the model's K of 576 is no multiple of 128
    if on_zenwoq:
        print(zenwoq.torch.optimize(model, fuse=fuse).summary(), file=sys.stderr)
    return model.eval()


def llama(layers: int, hidden: int) -> Any:
    """A bf16 Llama with random weights and a small vocabulary; heads of 64, 8 of them share one of the cache."""
    heads = hidden // 64
    config = transformers.LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 8),
        vocab_size=8192,
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def grouped_attention(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
    """transformers' attention, but for one token the query heads that share a cached head are rows of one product.

    transformers does the same only where it is not compiled; else it copies the cache once a query head.

    Args:
        q: ``[batch, heads, tokens, dim]``.
        k, v: ``[batch, cached heads, length, dim]``.

    Returns:
        ``[batch, tokens, heads, dim]``, and None.
    """
    batch, heads, tokens, dim = q.shape
    if tokens != 1:
        return sdpa_attention_forward(module, q, k, v, mask, **options)
    rows = q.reshape(batch, k.shape[1], heads // k.shape[1], dim)
    y = torch.nn.functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=options["scaling"])
    return y.reshape(batch, 1, heads, dim), None


def compile_forward(model: Any, forward: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """A forward of the model as one graph for inputs of one shape: weights are constants, guards are not checked."""
    if backend == "zentorch":
        import zentorch  # noqa: F401 - registers its backend
    transformers.AttentionInterface.register("grouped", grouped_attention)
    transformers.AttentionMaskInterface.register("grouped", sdpa_mask)
    model.set_attn_implementation("grouped")
    torch._inductor.config.freezing = True
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if backend != "zentorch":  # which takes no options
        options |= LM_HEAD
    return torch.compile(forward, backend=backend, fullgraph=True, dynamic=False, options=options)
