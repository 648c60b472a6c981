# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Small GGUF files, written as llama.cpp's converter writes them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch


def write_gguf(
    path: Path,
    model: torch.nn.Module,
    kind: Any,
    *,
    pure: bool = False,
    architecture: str = "llama",
    without: Collection[str] = (),
    more: Callable[[Any], None] = lambda writer: None,
) -> dict[str, torch.Tensor]:
    """Writes a Llama, or another decoder, with its linears and experts in blocks.

    Args:
        path: of the file.
        model: a model with the parameters of a Llama, and of a mixture of experts; a tied head is left out.
        kind: the type of the blocks, ``"Q4_0"`` or gguf's own enum, or a function that gives it by a parameter's name.
            Types that gguf cannot quantize to get blocks that have nothing to do with the model's values.
        pure: True puts the embedding and the head into blocks too.
        architecture: what the file says that it is. Only ``"llama"`` has interleaved rows.
        without: names of the model's parameters to leave out.
        more: adds to gguf's writer what no Llama has.

    Returns:
        The values of what is in blocks, by the model's names; of experts gate and up have one name each.
    """
    import gguf

    def kind_of(name: str) -> Any:
        of_it = kind(name) if callable(kind) else kind
        return gguf.GGMLQuantizationType[of_it] if isinstance(of_it, str) else of_it

    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if hasattr(config, "num_experts_per_tok"):
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(getattr(config, "moe_intermediate_size", config.intermediate_size))
        writer.add_key_length(config.head_dim or config.hidden_size // config.num_attention_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    left_out = {*without, "lm_head.weight"} if config.tie_word_embeddings else set(without)
    values = {}
    for name, tensor in _as_in_files(model.state_dict()):
        to = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if name in left_out or to is None:
            continue
        data = tensor.float().numpy()
        in_blocks = data.ndim >= 2 and ("proj" in name or pure)
        if in_blocks:
            values[name] = torch.from_numpy(gguf.dequantize(_blocks(data, kind_of(name)), kind_of(name)))
        count = heads.get(name.split(".")[-2]) if architecture == "llama" else None
        if count:  # each head's halves are interleaved row by row
            data = data.reshape(count, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        if in_blocks:
            writer.add_tensor(to, _blocks(data, kind_of(name)), raw_dtype=kind_of(name))
        else:
            writer.add_tensor(to, data)
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _as_in_files(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a model, those of experts under the names that llama.cpp knows."""
    for name, tensor in state.items():
        if name.endswith("experts.gate_up_proj"):
            gate, up = tensor.chunk(2, 1)
            yield name.replace("gate_up_proj", "gate_proj.weight"), gate
            yield name.replace("gate_up_proj", "up_proj.weight"), up
        else:
            yield f"{name}.weight" if name.endswith("experts.down_proj") else name, tensor


_SCALES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,)}  # where blocks have an f16


def _blocks(data: Any, kind: Any) -> Any:
    """Rows in blocks; of a type that gguf cannot quantize to, ones that are made of a hash of the row."""
    import gguf
    import numpy as np

    if kind.name not in _SCALES:
        return gguf.quantize(data, kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    rows = []
    for row in data.reshape(-1, data.shape[-1]):
        random = np.random.default_rng(zlib.crc32(row.tobytes()))
        blocks = random.integers(0, 256, (row.size // elements, size), dtype=np.uint8)
        for at in _SCALES[kind.name]:
            blocks[:, at : at + 2] = random.uniform(1e-5, 2e-5, (len(blocks), 1)).astype(np.float16).view(np.uint8)
        rows.append(blocks.reshape(-1))
    return np.stack(rows).reshape(*data.shape[:-1], -1)
