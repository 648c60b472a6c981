# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized linears of other libraries as codes, scales and zeros.

A source looks at a module and either leaves it alone with a reason, or returns its
:class:`~zenwoq._weight.WeightParts`. Classes are recognised by name, so that nothing is imported that the model does
not use, and classes that moved are still found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from zenwoq._weight import WeightParts
from zenwoq.torch import _gguf, _torchao


@dataclass
class Source:
    """A linear that zenwoq understands.

    Attributes:
        read: returns the parts; may take as much memory as the layer itself.
        bias: the layer's bias.
        in_features: K.
        out_features: N.
    """

    read: Callable[[], WeightParts]
    bias: torch.Tensor | None
    in_features: int
    out_features: int


class Unsupported(Exception):  # noqa: N818 - a verdict, not an error
    """Why a layer stays as it is."""


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer, dense or quantized, of one of the kinds that the report lists."""
    return isinstance(module, torch.nn.Linear) or _gguf.is_gguf_linear(module)


def find_source(module: torch.nn.Module) -> Source:
    """Finds the module's source. Raises Unsupported with the reason why it stays as it is."""
    reason = _reason_of_module(module)
    if reason:
        raise Unsupported(reason)
    weight: Any = module.weight
    if _gguf.is_gguf_linear(module):
        reason, read = _gguf.open_linear(module)
        k = int(module.in_features)  # type: ignore[arg-type]
    else:
        reason, read = _torchao.open_weight(weight.detach())
        k = int(weight.shape[1])
    if read is None:
        raise Unsupported(reason)
    bias = module.bias
    assert bias is None or isinstance(bias, torch.Tensor)
    return Source(read, bias, k, int(weight.shape[0]))


def _reason_of_module(module: torch.nn.Module) -> str:
    if not _gguf.is_gguf_linear(module) and type(module).forward is not torch.nn.Linear.forward:
        return f"{type(module).__name__} has a forward of its own"
    if isinstance(module, torch.nn.modules.linear.NonDynamicallyQuantizableLinear):
        return "its weight is used by the module around it (MultiheadAttention)"
    if "forward" in vars(module):
        return "its forward is replaced (an accelerate hook?)"
    weight: Any = module.weight
    if weight.device.type != "cpu":
        return f"on {weight.device}"
    bias: Any = module.bias
    if bias is not None and bias.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"bias is {bias.dtype}"
    return ""


def quantization_of(module: torch.nn.Module) -> str:
    """Describes a layer's weight in a few words."""
    if _gguf.is_gguf_linear(module):
        return _gguf.describe(module)
    weight: Any = module.weight
    return _torchao.describe(weight)


def bytes_of(tensor: torch.Tensor) -> int:
    """The bytes of a tensor, or of the tensors inside it if it is a wrapper."""
    names = getattr(tensor, "__tensor_flatten__", None)
    if names is None or type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return tensor.nbytes
    inner = [getattr(tensor, name) for name in names()[0]]
    return sum(bytes_of(part) for part in inner if isinstance(part, torch.Tensor))
