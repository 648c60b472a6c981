# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Writes optimised models to safetensors files (_checkpoint.py says what is in them)."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterable
from typing import Any

import torch

from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._checkpoint import (
    KEY,
    TYPE_NAMES,
    VERSION,
    name_of,
    of_wrappers,
    packed_experts,
    packed_layers,
    packed_names,
    plain_name,
)
from zenwoq.torch._experts import problem_of
from zenwoq.torch._files import whole_file
from zenwoq.torch._fuse import what_is_fused
from zenwoq.torch._gguf import is_gguf_embedding, is_in_gguf_blocks, values_of_embedding
from zenwoq.torch._group import refuse_parts
from zenwoq.torch._module import Linear

_EXTRA_STATE = "_extra_state"


def save(model: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes an optimised model to a safetensors file, whole or not at all; :func:`load` reads all that this writes.

    A model that torch.compile, DataParallel or the like wraps gives the same file as the model in it. Embeddings in the
    blocks of a GGUF file are saved with their values. Extra state (``get_extra_state``) may be a tensor or what JSON
    can hold. No other thread may change the model meanwhile; any number of threads and processes may write one path,
    and one of them wins.

    Args:
        model: with packed and plain tensors on the CPU.
        path: the file's path. An existing file is replaced when all is on the disk, and keeps its mode, its owner and
            group as far as this process may set them, and no other attributes; if it fails (the disk is full), the old
            file is as it was. Behind a symbolic link, the link's target is replaced; another name of the same file (a
            hard link) keeps the old one. A device or a pipe is written straight.

    Raises:
        ValueError: the model has no zenwoq layer, or something that the file cannot hold (a tensor of a layer that
            another library quantized, or in the blocks of a GGUF file, or not on the CPU; a damaged packed weight;
            extra state; what :func:`parallelize` split), which the message names. Nothing has been written then.
        OSError: the file cannot be written.
    """
    layers, experts = packed_layers(model), packed_experts(model)
    if not layers and not experts:
        raise ValueError("the model has no zenwoq layer: call zenwoq.torch.optimize first")
    state, extra = saved_state(model)
    wrappers = of_wrappers(model)
    buffers = {name: b for name, b in model.named_buffers(remove_duplicate=False) if name not in wrappers}
    hidden = {plain_name(model, name): buffer for name, buffer in buffers.items()}
    hidden = {name: _storable(name, buffer) for name, buffer in hidden.items() if name not in state}
    tensors, aliases = _without_aliases({**state, **hidden})
    packed = packed_names(layers, experts)
    names = sorted(tensors, key=lambda name: (name not in packed, -tensors[name].element_size(), name))
    fused = what_is_fused(model)
    about = {
        "version": VERSION,
        "layers": {name: _about_layer(name, layer) for name, layer in layers.items()},
        "aliases": aliases,
        "buffers": sorted(hidden),
        "extra": extra,
        "experts": sorted(experts),
        "fuse": fused if isinstance(fused, bool) else [plain_name(model, name) for name in fused],
    }
    _write(path, names, tensors, {"format": "pt", KEY: json.dumps(about)})


def saved_state(model: torch.nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a file of the model holds, by plain names: the tensors of its state_dict, and extra state that is no tensor.

    Raises:
        ValueError: something cannot be saved, which the message names.
    """
    refuse_parts(model, "be saved")
    for name, layer in packed_layers(model).items():
        if problem := layer.problem_of(layer.packed):
            raise ValueError(f"{name}.packed cannot be saved: {problem}".lstrip("."))
    for name, module in packed_experts(model).items():
        if problem := problem_of(module):
            raise ValueError(f"{name}.{problem}".lstrip("."))
    tensors: dict[str, torch.Tensor] = {}
    extra: dict[str, Any] = {}
    blocks = {
        f"{name}.{own}".lstrip("."): module
        for name, module in model.named_modules(remove_duplicate=False)
        if is_in_gguf_blocks(module)
        for own in module._parameters
        if own != "bias"
    }
    wrappers = of_wrappers(model)
    for full, held in model.state_dict().items():
        if full in wrappers:
            continue
        name = plain_name(model, full)
        if full in blocks and not is_gguf_embedding(blocks[full]):
            raise ValueError(f"{name} is in the blocks of a GGUF file, which the file cannot hold")
        value = values_of_embedding(blocks[full]) if full in blocks else held
        if isinstance(value, torch.Tensor):
            tensors[name] = _storable(name, value)
        elif full.rpartition(".")[2] == _EXTRA_STATE and _is_json(value):
            extra[name] = value
        else:
            raise ValueError(f"{name} is a {type(value).__name__} that is neither a tensor nor JSON's")
    return tensors, extra


def _is_json(value: Any) -> bool:
    """Whether JSON gives the value back as it is."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _storable(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's values in memory. Raises ValueError if safetensors cannot hold it."""
    if (
        type(tensor) not in (torch.Tensor, torch.nn.Parameter)
        or tensor.dtype not in TYPE_NAMES
        or tensor.layout != torch.strided
    ):
        kind = "" if tensor.layout == torch.strided else f" {tensor.layout}"
        raise ValueError(f"{name} is a {type(tensor).__name__} of {tensor.dtype}{kind}, which safetensors cannot hold")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}, must be on the CPU")
    return tensor.detach().resolve_conj().resolve_neg()


def _about_layer(name: str, layer: Linear) -> tuple[int, int, str]:
    dtype = layer.weight.dtype
    if dtype not in TYPE_NAMES:
        raise ValueError(f"{name}.weight stands for {dtype}, which safetensors cannot hold".lstrip("."))
    return layer.out_features, layer.in_features, name_of(dtype)


def _without_aliases(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors to write, each once, and the other names that some have."""
    written: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[Any, str] = {}
    for name, value in tensors.items():
        same = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() > 0 and same in first:
            aliases[name] = first[same]
        else:
            first[same] = name
            written[name] = value
    return written, aliases


def _write(
    path: str | os.PathLike[str], names: Iterable[str], tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        header[name] = {"dtype": TYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % PACKED_ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(_bytes_of(tensors[name]))


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    if tensor.numel() == 0:
        return memoryview(b"")
    whole = tensor.contiguous()
    memory = (ctypes.c_uint8 * whole.nbytes).from_address(whole.data_ptr())
    memory._owner = whole  # type: ignore[attr-defined]
    return memoryview(memory)
