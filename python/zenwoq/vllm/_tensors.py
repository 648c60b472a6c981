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


class Place(torch.nn.Parameter):
    """A parameter without values: it makes vLLM hand over the tensors of its name to a loader.

    Attributes:
        part: what it is for, as its owner has it.
        weight_loader: takes the place, the tensor, and what the kind of layer adds to them.
    """

    part: Any
    weight_loader: Callable[..., Any]
    _layer: str

    def _refuse(self) -> int:
        raise ValueError(
            f"{self._layer}: the code of its model in vLLM cuts or sorts the rows of the tensors itself, which zenwoq, "
            f"that takes them as they are in the file, cannot follow: ZENWOQ_VLLM=0 leaves the model to vLLM"
        )

    # Models that do so (Falcon, Step3) ask vLLM's own parameters for these. No AttributeError: they would take it for
    # the answer that the rows are in order.
    output_dim = property(_refuse)
    input_dim = property(_refuse)


def place_for(layer: str, part: Any, kind: torch.dtype, loader: Callable[..., Any]) -> Place:
    """A place for the tensors of a name.

    Args:
        layer: the layer's name in the model.
        part: what it is for.
        kind: the type that the tensor has in the file; vLLM warns if it is another one.
        loader: see Place.
    """
    place = Place(torch.empty(0, dtype=kind), requires_grad=False)
    place.part, place.weight_loader, place._layer = part, loader, layer
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
