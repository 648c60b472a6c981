# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors of a checkpoint as vLLM hands them over, whole, kept until the layer that they are of is packed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from vllm.config import get_current_vllm_config_or_none

from zenwoq import Weight
from zenwoq._weight import WeightParts
from zenwoq.torch._memory import WeightMemory

# Ways to load whose tensors stay as they are: views of mapped files, or memory of their own.
_STABLE = ("auto", "hf", "safetensors", "pt", "npcache", "mistral")
_memory = WeightMemory()  # vLLM loads in one thread


def place_for(kind: torch.dtype, loader: Callable[..., Any]) -> torch.nn.Parameter:
    """A parameter without values: it makes vLLM hand over the tensors of its name to a loader.

    Args:
        kind: the type that the tensor has in the file; vLLM warns if it is another one.
        loader: takes the parameter, the tensor, and what the kind of layer adds to them.
    """
    place = torch.nn.Parameter(torch.empty(0, dtype=kind), requires_grad=False)
    place.weight_loader = loader  # type: ignore[attr-defined]
    return place


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it if the way in which vLLM loads writes over it."""
    config = get_current_vllm_config_or_none()
    load_format = "auto" if config is None else str(config.load_config.load_format)
    return tensor if load_format in _STABLE else tensor.clone()


def packed(parts: WeightParts) -> Weight:
    """A weight that is packed on this process's threads, of which a host may have several such processes."""
    made = torch.empty(parts.packed_bytes(), dtype=torch.uint8)
    parts.pack_into(made.data_ptr(), made.nbytes, torch.get_num_threads())
    return Weight.from_packed(made)


def viewed(weight: Weight) -> torch.Tensor:
    """The bytes of a packed weight in its own memory: ``[bytes]`` uint8, not to be written to."""
    memory = (ctypes.c_uint8 * weight.nbytes).from_address(weight._array.address)
    memory._owner = weight  # type: ignore[attr-defined]  # lives as long as the tensor
    return torch.frombuffer(memory, dtype=torch.uint8)


def stored(weight: Weight) -> torch.Tensor:
    """A copy of a packed weight in huge pages: ``[bytes]`` uint8."""
    return _memory.copy(viewed(weight))
