# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Small GGUF files, written as llama.cpp's converter writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection
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
    """Writes a Llama with its linears in blocks.

    Args:
        path: of the file.
        model: a model with the parameters of a Llama; a tied head is left out.
        kind: the type of the blocks, ``"Q4_0"`` or gguf's own enum.
        pure: True puts the embedding and the head into blocks too.
        architecture: what the file says that it is. Only ``"llama"`` has interleaved rows.
        without: names of the model's parameters to leave out.
        more: adds to gguf's writer what no Llama has.

    Returns:
        The values of what is in blocks, by the model's names.
    """
    import gguf

    kind = gguf.GGMLQuantizationType[kind] if isinstance(kind, str) else kind
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    left_out = {*without, "lm_head.weight"} if config.tie_word_embeddings else set(without)
    values = {}
    for name, tensor in model.state_dict().items():
        to = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if name in left_out or to is None:
            continue
        data = tensor.float().numpy()
        in_blocks = data.ndim == 2 and ("proj" in name or pure)
        if in_blocks:
            values[name] = torch.from_numpy(gguf.dequantize(gguf.quantize(data, kind), kind))
        count = heads.get(name.split(".")[-2]) if architecture == "llama" else None
        if count:  # each head's halves are interleaved row by row
            data = data.reshape(count, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        if in_blocks:
            writer.add_tensor(to, gguf.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(to, data)
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values
