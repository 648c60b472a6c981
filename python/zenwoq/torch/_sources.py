# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Quantized linears of other libraries as layers of the library of formats.

A source looks at a module and either leaves it alone with a reason, or has its :class:`zenwoq.Layer`. Classes are
recognised by name, so that nothing is imported that the model does not use, and classes that moved are still found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from zenwoq import Weight
from zenwoq._formats import Layer
from zenwoq.torch import _gguf, _quantizers, _torchao
from zenwoq.torch._given import NAME, Given, Unsupported, looking, sentence


@dataclass
class Source:
    """A linear that zenwoq understands.

    Attributes:
        given: what its weight consists of.
        layer: the same, understood.
        bias: the linear's bias.
    """

    given: Given
    layer: Layer
    bias: torch.Tensor | None

    def pack(self) -> torch.Tensor:
        """The packed weight ``[bytes]`` uint8, made on as many threads as torch uses.

        Raises:
            ValueError: a value cannot be (an infinite scale), or the values are not those that the owner computes with.
            MemoryError: there is no memory for it.
        """
        try:
            packed = torch.frombuffer(self.layer.packed(threads=torch.get_num_threads()), dtype=torch.uint8)
        except ValueError as error:
            raise ValueError(sentence(error)) from error
        if self.given.check is not None:
            self.given.check(Weight.from_packed(packed))
        return packed


def is_linear(module: torch.nn.Module) -> bool:
    """Whether a module is a linear layer, dense or quantized, of one of the kinds that the report lists."""
    return (
        isinstance(module, torch.nn.Linear) or _gguf.is_gguf_linear(module) or _quantizers.is_gptqmodel_linear(module)
    )


def weight_of(module: torch.nn.Module) -> torch.Tensor:
    """The module's weight, or its codes. Raises Unsupported with the reason why it cannot be looked at."""
    try:
        codes = _quantizers.weight_of(module)
        weight: Any = module.weight if codes is None else codes
    except Exception as error:
        kind = "" if isinstance(error, AttributeError) else f" ({type(error).__name__}: {error})"
        raise Unsupported(f"it has no weight{kind}") from error
    if not isinstance(weight, torch.Tensor):
        raise Unsupported(f"its weight is {'None' if weight is None else f'a {type(weight).__name__}, not a tensor'}")
    if torch.nn.parameter.is_lazy(weight):
        raise Unsupported("its weight has no shape yet: run the model once")
    return weight


def _given_of(module: torch.nn.Module, weight: torch.Tensor) -> Given:
    if _gguf.is_gguf_linear(module):
        return _gguf.given(module)
    if _quantizers.is_of_quantizer(module):
        return _quantizers.given(module)
    unpacked = getattr(module, "unpacked_from", None)
    if unpacked is not None:
        raise Unsupported(f"{unpacked}, unpacked at load: there is no kernel for it")
    return _torchao.given(weight.detach())


def find_source(module: torch.nn.Module) -> Source:
    """Finds the module's source. Raises Unsupported with the reason why it stays as it is."""
    weight = weight_of(module)
    with looking():
        reason = _reason_of_module(module, weight)
        if reason:
            raise Unsupported(reason)
        given = _given_of(module, weight)
        checkpoint = given.open()
        layer = checkpoint.get(NAME)
        if layer is None:
            raise Unsupported(checkpoint.left_alone[0].reason)
        bias: Any = module.bias
        if bias is not None and bias.shape != layer.shape[:1]:
            raise Unsupported(f"bias has shape {list(bias.shape)}, must be [{layer.shape[0]}]")
        expected = (getattr(module, "out_features", layer.shape[0]), getattr(module, "in_features", layer.shape[1]))
        if layer.shape != expected:
            raise Unsupported(f"its weight is {layer.shape[0]} x {layer.shape[1]}, it is {expected[0]} x {expected[1]}")
    return Source(given, layer, bias)


def _reason_of_module(module: torch.nn.Module, weight: torch.Tensor) -> str:
    if isinstance(module, torch.nn.modules.linear.NonDynamicallyQuantizableLinear):
        return "its weight is used by the module around it (MultiheadAttention)"
    if not _quantizers.has_forward_of_library(module):
        if not _gguf.is_gguf_linear(module) and type(module).forward is not torch.nn.Linear.forward:
            return f"{type(module).__name__} has a forward of its own"
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
        if _gguf.is_gguf_linear(module):
            return f"gguf {_gguf.name_of(module.ggml_type)}"
        return type(module).__name__ if _quantizers.is_of_quantizer(module) else _torchao.describe(weight)
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
