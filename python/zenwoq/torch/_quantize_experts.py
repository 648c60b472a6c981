# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Puts packed experts into models: of 4-bit tensors and blocks, or rounded here from dense weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from zenwoq import Error
from zenwoq.torch import _pretrained
from zenwoq.torch._experts import PACKED, Stack, biases_of, check_pairs, install, text_of
from zenwoq.torch._experts import bytes_of as packed_bytes_of
from zenwoq.torch._experts_shape import WEIGHTS, Shape, experts_of, is_experts, shape_of
from zenwoq.torch._gguf import cost, describe_experts, experts_instead_of, is_gguf_experts
from zenwoq.torch._given import Unsupported, looking, sentence
from zenwoq.torch._places import put, take_over
from zenwoq.torch._progress import Bar, progress_bar
from zenwoq.torch._report import LayerReport, Report
from zenwoq.torch._sources import bytes_of
from zenwoq.torch._stacked import BlocksWeight, DenseWeight, Int4Weight, StackedWeight
from zenwoq.torch._torchao import describe

_GROUPS = (32, 64, 128)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_DENSE = "{}: zenwoq.torch.quantize_experts packs it"


def quantize_experts(
    model: torch.nn.Module, *, group_size: int = 32, symmetric: bool = True, progress: bool | None = None
) -> Report:
    """Rounds the dense experts of a model of transformers to 4 bits, in place, and lets zenwoq run them.

    For each group of `group_size` weights along the input, in float32, with the smallest weight or 0 as `low` and the
    greatest or 0 as `high`::

        symmetric:   scale = bf16(max(high, -low) / 7.5)    code = clamp(round(w / scale), -8, 7)
        asymmetric:  scale = bf16((high - low) / 15)        zero = clamp(round(-8 - low / scale), -8, 7)
                                                            code = clamp(round(w / scale) + zero, -8, 7)

    with scales of at least 2^-100 and halves rounded to even; the weight is then scale * (code - zero). So TorchAO's
    IntxWeightOnlyConfig maps linears (symmetric, asymmetric), in the weights' own dtype. A last group may be shorter.

    Modules go one by one, and the dense weights of each are freed when all of it is packed: at no time are two copies
    of the model in memory. Whatever interrupts this, each module has either its dense weights or the packed ones.
    Linears stay as they are. Modules that are not understood stay, too, with the reason in the report, as do those of
    models that want transformers' "eager" experts (OpenAI's privacy filter), unless they were told to run "zenwoq". No
    other thread may use the model meanwhile.

    Args:
        model: on the CPU, with experts in float32, float16 or bfloat16.
        group_size: 32, 64 or 128.
        symmetric: whether to do without zero points.
        progress: as :func:`optimize` has it.

    Returns:
        A report with an entry for each module of experts.

    Raises:
        ValueError: group_size is another one, or a weight is not finite.
        MemoryError: there is no memory for the packed weights.
        RuntimeError: torch fails at a weight, as where it has no memory itself.
        TypeError: model is not a module.

    Errors of a module name it; modules before it are packed then.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    if group_size not in _GROUPS:
        raise ValueError(f"group_size is {group_size}, must be {', '.join(map(str, _GROUPS))}")
    _pretrained.announce()

    def rounded_weights(module: Any, shape: Shape) -> list[StackedWeight]:
        weights = [module._parameters[name] for name in WEIGHTS]
        for weight in weights:
            kind = type(weight).__name__
            if kind not in ("Tensor", "Parameter") or weight.dtype not in _FLOATS:
                raise Unsupported(f"{kind} of {weight.dtype}, must be float32, float16 or bfloat16")
            if weight.device.type != "cpu":
                raise Unsupported(f"on {weight.device}")
        return [DenseWeight(weight, shape.is_transposed, group_size, symmetric) for weight in weights]

    report = Report()
    start = time.perf_counter()
    found = [_Found(*experts, rounded_weights) for experts in experts_of(model)]
    with progress_bar(sum(each.nbytes for each in found), progress) as bar:
        report.layers = _pack_all(found, model, bar)
    report.seconds = time.perf_counter() - start
    return report


def optimize_experts(model: torch.nn.Module, bar: Bar) -> list[LayerReport]:
    """Lets zenwoq run experts that are quantized. Returns a report of each module that was not packed yet."""
    return _pack_all(_quantized(model), model, bar)


def bytes_of_experts(model: torch.nn.Module) -> int:
    """The bytes that :func:`optimize_experts` tells the bar of."""
    return sum(each.nbytes for each in _quantized(model))


def weights_to_pack(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """The weights of experts that :func:`optimize_experts` replaces."""
    for each in _quantized(model):
        try:
            each.open()
        except Exception:  # whatever it is, it will be met again
            continue
        yield from (each.module._parameters[name] for name in WEIGHTS)


@dataclass
class _Found:
    """A module of experts that may be packed.

    Attributes:
        name: its name in the model.
        module: what computes them now.
        reason: why it must not be packed; empty if nothing is known against it.
        weights_of: gate and up, and down, of a module and its shape. Raises Unsupported.
    """

    name: str
    module: Any
    reason: str
    weights_of: Callable[[Any, Shape], list[StackedWeight]]

    @property
    def nbytes(self) -> int:
        """The size of its parameters."""
        return sum(bytes_of(parameter) for parameter in self.module.parameters(recurse=False))

    def open(self) -> tuple[Any, Shape, list[StackedWeight]]:
        """The module that gets packed weights, itself or what GGUF's stands for. Raises Unsupported."""
        if self.reason:
            raise Unsupported(self.reason)
        with looking():
            target = experts_instead_of(self.module) if is_gguf_experts(self.module) else self.module
            if not is_experts(target):
                raise Unsupported(f"it is a {type(target).__name__}")
            shape = shape_of(target)
            return target, shape, self.weights_of(self.module, shape)

    def describe(self) -> str:
        """What it is, where its weights are not understood."""
        try:
            if is_gguf_experts(self.module):
                return describe_experts(self.module)
            weight = self.module._parameters.get(WEIGHTS[0])
            return type(self.module).__name__ if weight is None else describe(weight)
        except MemoryError:
            raise
        except Exception:  # whatever an odd tensor does when it is asked; `open` says why
            return type(self.module).__name__


def _quantized(model: torch.nn.Module) -> list[_Found]:
    """Modules with experts that are not packed, in blocks of GGUF or with any other weights, in the model's order."""
    others = {id(module): _Found(name, module, reason, _int4_weights) for name, module, reason in experts_of(model)}
    found = []
    for name, module in model.named_modules():
        if is_gguf_experts(module):
            found.append(_Found(name, module, "" if name else "it is the model itself: put it into a module", _blocks))
        elif id(module) in others:
            found.append(others[id(module)])
    return found


def _int4_weights(module: Any, shape: Shape) -> list[StackedWeight]:
    return [_int4_weight(module, module._parameters[name], shape.is_transposed) for name in WEIGHTS]


def _int4_weight(module: Any, weight: torch.Tensor, is_transposed: bool) -> StackedWeight:
    kind = type(weight).__name__
    if kind in ("Tensor", "Parameter"):
        was = vars(module).get("unpacked_from")
        dtype = str(weight.dtype).removeprefix("torch.")
        raise Unsupported(_DENSE.format(f"not quantized ({dtype})" if was is None else f"{was}, unpacked at load"))
    if kind != "Int4Tensor":
        raise Unsupported(f"{kind} of 3 dimensions is not supported")
    if is_transposed:
        raise Unsupported("quantized along the output: its module has weights [experts, in, out]")
    return Int4Weight(weight)


def _blocks(module: Any, shape: Shape) -> list[StackedWeight]:
    """The weights of a GgufExperts, which applies the gate to halves and knows no biases."""
    if "forward" in vars(module):
        raise Unsupported("its forward is replaced (an accelerate hook?)")
    if shape.is_interleaved or shape.has_bias:
        raise Unsupported("its class has biases, or gate and up take turns")
    sizes = module.num_experts, module.hidden_dim, module.intermediate_dim
    if sizes != (shape.experts, shape.hidden, shape.intermediate):
        raise Unsupported(f"its blocks do not fit {shape.experts} experts of {shape.hidden} x {shape.intermediate}")
    return [
        BlocksWeight(module.gate_up_proj.detach(), module.gate_up_type, shape.hidden),
        BlocksWeight(module.down_proj.detach(), module.down_type, shape.intermediate),
    ]


def _pack_all(found: list[_Found], model: torch.nn.Module, bar: Bar) -> list[LayerReport]:
    """Packs them one by one, and empties the list, so that the old weights of each are freed before the next."""
    reports = []
    while found:
        each = found.pop(0)
        size = each.nbytes
        reports.append(_pack(each, model, size))
        del each  # the last reference to the old weights
        bar.update(size)
    return reports


def _pack(found: _Found, model: torch.nn.Module, size: int) -> LayerReport:
    """Packs a module whole, or leaves it as it is. Errors name it."""
    name, was = found.name, found.describe()
    try:
        target, shape, weights = found.open()
        was = f"{shape.experts} experts, {' and '.join(dict.fromkeys(weight.text for weight in weights))}"
        packed = _packed(shape, weights)
        biases = biases_of(target, shape)
    except Unsupported as reason:
        text = f"{reason}{cost(found.module)}"
        return LayerReport(name, None, was, size, size, False, text, stacked=True)
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except (Error, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {sentence(error)}") from error
    except Exception as error:
        raise RuntimeError(f"{name}: {error}") from error
    install(target, shape, packed, biases)
    if target is not found.module:
        take_over(target, found.module)
        parent, _, own = name.rpartition(".")
        put(model.get_submodule(parent), own, target)
    result = f"{shape.experts} experts of {shape.hidden} x {shape.intermediate}: {text_of(target)}"
    return LayerReport(name, None, was, size, packed_bytes_of(target), True, result, stacked=True)


def _packed(shape: Shape, weights: list[StackedWeight]) -> dict[str, torch.Tensor]:
    """The packed weights, as :func:`install` takes them."""
    gate_up, down = weights
    both, inner = 2 * shape.intermediate, shape.intermediate
    of_gate, of_up = (
        (slice(0, both, 2), slice(1, both, 2)) if shape.is_interleaved else (slice(0, inner), slice(inner, both))
    )
    for weight in weights:
        weight.check()
    stacks = {name: Stack(shape.experts) for name in PACKED}
    parts = ((gate_up, of_gate), (gate_up, of_up), (down, slice(None)))
    for expert in range(shape.experts):
        for stack, (weight, rows) in zip(stacks.values(), parts, strict=True):
            stack.add(weight.packed(expert, rows))
    packed = {name: stack.tensor for name, stack in stacks.items()}
    check_pairs(packed["gate_packed"], packed["up_packed"])
    return packed
