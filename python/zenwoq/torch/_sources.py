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


def weight_of(module: torch.nn.Module) -> torch.Tensor:
    """The module's weight. Raises Unsupported with the reason why it cannot be looked at."""
    try:
        weight: Any = module.weight
    except Exception as error:
        kind = "" if isinstance(error, AttributeError) else f" ({type(error).__name__}: {error})"
        raise Unsupported(f"it has no weight{kind}") from error
    if not isinstance(weight, torch.Tensor):
        raise Unsupported(f"its weight is {'None' if weight is None else f'a {type(weight).__name__}, not a tensor'}")
    if torch.nn.parameter.is_lazy(weight):
        raise Unsupported("its weight has no shape yet: run the model once")
    return weight


def find_source(module: torch.nn.Module) -> Source:
    """Finds the module's source. Raises Unsupported with the reason why it stays as it is."""
    weight = weight_of(module)
    try:
        reason = _reason_of_module(module, weight)
        if reason:
            raise Unsupported(reason)
        if _gguf.is_gguf_linear(module):
            reason, read = _gguf.open_linear(module)
            k = int(module.in_features)  # type: ignore[arg-type]
        else:
            reason, read = _torchao.open_weight(weight.detach())
            k = int(weight.shape[1]) if read else 0
        if read is None:
            raise Unsupported(reason)
        bias: Any = module.bias
        if bias is not None and bias.shape != weight.shape[:1]:
            raise Unsupported(f"bias has shape {list(bias.shape)}, must be [{weight.shape[0]}]")
    except (Unsupported, MemoryError):
        raise
    except Exception as error:  # whatever an odd module or a tensor of another library does when it is asked
        raise Unsupported(f"cannot be looked at ({type(error).__name__}: {error})") from error
    return Source(read, bias, k, int(weight.shape[0]))


def _reason_of_module(module: torch.nn.Module, weight: torch.Tensor) -> str:
    if not _gguf.is_gguf_linear(module) and type(module).forward is not torch.nn.Linear.forward:
        return f"{type(module).__name__} has a forward of its own"
    if isinstance(module, torch.nn.modules.linear.NonDynamicallyQuantizableLinear):
        return "its weight is used by the module around it (MultiheadAttention)"
    forward: Any = vars(module).get("forward")
    # accelerate leaves the class's own forward there when it takes its hooks off.
    if forward is not None and getattr(forward, "__func__", None) is not type(module).forward:
        return "its forward is replaced (an accelerate hook?)"
    if weight.device.type != "cpu":
        return f"on {weight.device}"
    bias: Any = getattr(module, "bias", weight)
    if bias is weight:
        return "it has no bias, not even None"
    if bias is not None and not isinstance(bias, torch.Tensor):
        return f"bias is a {type(bias).__name__}, not a tensor"
    if bias is not None and torch.nn.parameter.is_lazy(bias):
        return "its bias has no shape yet: run the model once"
    if bias is not None and bias.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"bias is {bias.dtype}"
    return ""


def quantization_of(module: torch.nn.Module, weight: torch.Tensor) -> str:
    """Describes a layer's weight in a few words."""
    try:
        return _gguf.describe(module) if _gguf.is_gguf_linear(module) else _torchao.describe(weight)
    except Exception:
        return type(weight).__name__


def bytes_of(tensor: torch.Tensor) -> int:
    """The bytes of a tensor, or of the tensors inside it if it is a wrapper; 0 if it does not say."""
    try:
        names = getattr(tensor, "__tensor_flatten__", None)
        if names is None or type(tensor) in (torch.Tensor, torch.nn.Parameter):
            return tensor.nbytes
        inner = [getattr(tensor, name) for name in names()[0]]
    except Exception:
        return 0
    return sum(bytes_of(part) for part in inner if isinstance(part, torch.Tensor))
