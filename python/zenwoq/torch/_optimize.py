# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Puts zenwoq's linears into a model, and dense ones back.

This goes layer by layer: the old weight is freed before the next is packed, so that the model is never held twice.
"""

from __future__ import annotations

import copy
import itertools
import time
from typing import Any, Literal, TypeVar, overload

import torch

from zenwoq import _library
from zenwoq.torch import _pretrained
from zenwoq.torch._experts import make_dense
from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._fuse import fuse as fuse_blocks
from zenwoq.torch._fuse import unfuse
from zenwoq.torch._gguf import cost, is_gguf_embedding, values_of_embedding
from zenwoq.torch._given import Unsupported
from zenwoq.torch._group import refuse_parts
from zenwoq.torch._module import Linear
from zenwoq.torch._places import put, take_over
from zenwoq.torch._progress import progress_bar
from zenwoq.torch._quantize_experts import bytes_of_experts, optimize_experts, weights_to_pack
from zenwoq.torch._report import LayerReport, Report
from zenwoq.torch._sources import Source, bytes_of, find_source, is_linear, quantization_of, weight_of

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)
_Places = list[tuple[torch.nn.Module, str]]  # parents, and the names of the layer in them


@overload
def optimize(
    model: torch.nn.Module, *, inplace: Literal[True] = True, progress: bool | None = None, fuse: bool = True
) -> Report: ...


@overload
def optimize(
    model: _ModelT, *, inplace: Literal[False], progress: bool | None = None, fuse: bool = True
) -> tuple[_ModelT, Report]: ...


def optimize(
    model: _ModelT, *, inplace: bool = True, progress: bool | None = None, fuse: bool = True
) -> Report | tuple[_ModelT, Report]:
    """Replaces every linear whose 4-bit weights zenwoq understands by a :class:`zenwoq.torch.Linear`.

    Understood are TorchAO's ``IntxWeightOnlyConfig(torch.int4)`` (per group and per channel, symmetric and
    asymmetric), ``Int4WeightOnlyOpaqueTensorConfig`` and ``Int4Tensor``; transformers' packed GGUF layers (see
    :func:`keep_gguf_packed`); and the linears by which transformers loads GPTQ and AWQ (gptqmodel), compressed-tensors
    and 4-bit bitsandbytes models, before their first forward, which rewrites them. Weights keep their exact values
    (transformers may have rounded scales when it loaded them, as compressed-tensors' to the model's dtype:
    :func:`from_checkpoint` does not). Anything else stays as it is and is named in the report with the reason, however
    odd it is (without a weight or a bias, or with a property that raises). A layer or model that was compiled stays
    compiled. A model of transformers (5.24) keeps its packed layers in ``save_pretrained``, under names of the model's
    own. Linears that share a weight, or are one module in several places, share the packed one. A replaced layer's bias
    gets no gradients from then on. No other thread may use the model meanwhile; afterwards any number may.

    Then blocks of these linears are fused, whatever their classes are called, where their forwards' sources say that
    they are

    - gated MLPs, ``down(act(gate(x)) * up(x))``, also with gate and up in one linear (Phi-3), and plain ones,
      ``fc2(act(fc1(x)))``, with SiLU, GELU, its tanh form or ReLU: they become a :class:`GatedMLP` or
      :class:`ActivatedMLP` in their places. These compute ``act(gate) * up``, or ``act(fc1)``, from float32 sums and
      round once to x's dtype, where modules left apart (``fuse=False``) round each of gate, up, ``act(gate)`` and
      the product, or fc1 and ``act(fc1)``: the two differ by these roundings (and torch's own error of the function)
    - linears that are called with one tensor, as q, k and v of an attention: on four threads or more the first of
      them computes all in one call, in the same bits as apart: on fewer they gain nothing by it. Under
      ``torch.compile`` and other tracers each is a call of its own.

    ``torch.jit.trace`` takes fused MLPs as they are; ``torch.jit.script`` cannot compile them, and refuses them: it
    needs ``fuse=False``.

    Experts of transformers' mixtures of experts (5.24; those that run through its registry of experts) with weights in
    TorchAO's ``Int4Tensor``, or in the blocks of a GGUF file, are packed, too: their modules stay (those of GGUF get
    the class back that the model has for them), with packed buffers in place of their parameters, and run the
    implementation ``"zenwoq"`` (``zenwoq::experts``). Models that want transformers' "eager" experts keep them, unless
    they were told to run ``"zenwoq"``. The gate is SiLU, GELU, its tanh form, ReLU or gpt-oss's, found by what it
    returns. `silu(gate) * up` is rounded to bfloat16 once, all else is float32, and a token has the same bits alone and
    in any batch. :func:`quantize_experts` packs dense experts.

    Modules keep their names, and ``state_dict`` its keys: files of fused and other models fit both. A block is left
    apart, with the reason in the report, if its linears are quantized or permuted in different ways, have hooks, or its
    forward is not understood; it computes apart, too, once hooks are added to its modules or they are replaced.

    Args:
        model: a model on the CPU. One that is itself a linear cannot be replaced in place.
        inplace: False leaves `model` as it is and returns a copy, which shares nothing with it but weights that neither
            changes (the quantized ones that were replaced are never copied).
        progress: whether to show a bar on stderr, by tqdm if that is installed; None shows it only on a terminal.
        fuse: False leaves all modules apart, and takes blocks apart that were fused.

    Returns:
        A report of what was done to each linear and module of experts (``print`` it); with ``inplace=False`` the new
        model and the report.

    Raises:
        ValueError: a weight has a scale that is not finite, or a code out of range; layers before it are replaced.
        MemoryError: there is no memory for a packed weight; layers before it are replaced.
        RuntimeError: torch fails at the weights of experts; layers before them are replaced.
        TypeError: model is not a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    _pretrained.announce()  # again, for whoever imported transformers in another way
    target = model if inplace else _copy_but_for_weights(model)
    report = Report()
    start = time.perf_counter()
    layers = _layers(target)
    sharing = _SharedWeights(target, layers)
    total = sum(_weight_bytes(module) for module, _, _ in layers) + bytes_of_experts(target)
    with progress_bar(total, progress) as bar, _pretrained.blocks_let_go(target):
        while layers:
            module, names, places = layers.pop(0)
            size = _weight_bytes(module)
            report.layers.append(_replace(module, ", ".join(names), places, sharing))
            del module  # the last reference to the old weight
            bar.update(size)
        report.layers.extend(optimize_experts(target, bar))
    if fuse:
        report.blocks = fuse_blocks(target)
    else:
        unfuse(target)
    report.seconds = time.perf_counter() - start
    return report if inplace else (target, report)


def _weight_bytes(module: torch.nn.Module) -> int:
    try:
        return bytes_of(weight_of(module))
    except Unsupported:
        return 0


def _layers(model: torch.nn.Module) -> list[tuple[torch.nn.Module, list[str], _Places]]:
    """Lists every linear once, with all its names and places."""
    found: dict[int, tuple[torch.nn.Module, list[str], _Places]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if is_linear(module):
            _, names, places = found.setdefault(id(module), (module, [], []))
            names.append(name)
            if name:
                parent, _, own = name.rpartition(".")
                places.append((model.get_submodule(parent), own))
    return list(found.values())


class _SharedWeights:
    """The weights that several modules have, and what became of them."""

    def __init__(self, model: torch.nn.Module, layers: list[tuple[torch.nn.Module, list[str], _Places]]):
        linears = {id(module) for module, _, _ in layers}
        self._others: dict[int, str] = {}  # weight -> its name in a module that is not a linear
        self._keep: dict[int, torch.Tensor] = {}  # shared weights, kept so that no id is used again
        self._packed: dict[int, torch.Tensor] = {}
        self.dtype = dtype_of_model(model)
        seen: set[int] = set()
        for name, module in model.named_modules():
            own_tensors = itertools.chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
            for own, parameter in own_tensors:
                if id(module) not in linears and not is_gguf_embedding(module):
                    self._others[id(parameter)] = f"{name}.{own}".lstrip(".")
                elif id(parameter) in seen:
                    self._keep[id(parameter)] = parameter
                seen.add(id(parameter))

    def elsewhere(self, weight: torch.Tensor) -> str:
        """The name of a weight outside linears; empty if it has none."""
        return self._others.get(id(weight), "")

    def packed(self, weight: torch.Tensor, source: Source) -> torch.Tensor:
        """The packed form, made once for each weight."""
        made = self._packed.get(id(weight)) if id(weight) in self._keep else None
        if made is None:
            made = source.pack()
            if id(weight) in self._keep:
                self._packed[id(weight)] = made
        return made


def _replace(module: torch.nn.Module, name: str, places: _Places, sharing: _SharedWeights) -> LayerReport:
    shape, was, size = None, "", 0
    try:
        shape = _shape_of(module)
        weight = weight_of(module)
        was, size = quantization_of(module, weight), bytes_of(weight)
        source = find_source(module)
        was, size = source.layer.format, source.layer.source_nbytes
        if not places:
            raise Unsupported("it is the model itself: put it into a module")
        if sharing.elsewhere(weight):
            raise Unsupported(f"shares its weight with {sharing.elsewhere(weight)}")
        packed = sharing.packed(weight, source)
    except Unsupported as reason:
        return LayerReport(name, shape, was, size, size, False, f"{reason}{cost(module)}")
    except (_library.Error, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # whatever a tensor of another library does when it is read
        return LayerReport(name, shape, was, size, size, False, f"cannot be read ({type(error).__name__}: {error})")
    made = Linear(packed, source.bias, dtype=_dense_dtype(module) or sharing.dtype)
    take_over(made, module)
    for parent, own in places:
        put(parent, own, made)
    _break_cycles(module)
    return LayerReport(
        name, (made.out_features, made.in_features), was, size, packed.nbytes, True, made.weight_view().text
    )


def _shape_of(module: torch.nn.Module) -> tuple[int, int] | None:
    try:
        n, k = getattr(module, "out_features", None), getattr(module, "in_features", None)
    except Exception as error:
        raise Unsupported(f"cannot be looked at ({type(error).__name__}: {error})") from error
    return (n, k) if isinstance(n, int) and isinstance(k, int) else None


def _dense_dtype(linear: torch.nn.Module) -> torch.dtype | None:
    """The type of a linear's dense weight. GGUF blocks have what they were loaded as; None if that is not known."""
    dtype = getattr(linear, "compute_dtype", None) or getattr(getattr(linear, "weight", None), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else None


def dtype_of_model(model: torch.nn.Module) -> torch.dtype:
    """The type of a model's first parameter of plain floats; bfloat16 if it has none."""
    dtypes = (p.dtype for p in model.parameters() if type(p) is torch.nn.Parameter)
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.bfloat16)


def _break_cycles(module: torch.nn.Module) -> None:
    """Removes methods bound to the module, because TorchAO's extra_repr would keep the weight until a collection."""
    for name, value in list(vars(module).items()):
        if getattr(value, "__self__", None) is module:
            delattr(module, name)


def _copy_but_for_weights(model: _ModelT) -> _ModelT:
    """A deep copy that shares with the model the weights of the linears and experts to replace, which are only read."""
    shared: dict[int, Any] = {}
    for module, _, _ in _layers(model):
        try:
            given = find_source(module).given
        except Unsupported:
            continue
        for tensor in (weight_of(module), *given.parts.values()):
            shared[id(tensor)] = tensor
    shared.update((id(weight), weight) for weight in weights_to_pack(model))
    return copy.deepcopy(model, shared)


def restore(model: _ModelT, *, dtype: torch.dtype = torch.bfloat16, inplace: bool = True) -> _ModelT:
    """Replaces zenwoq's layers by dense ``torch.nn.Linear`` with the weights' values.

    Fused blocks get their own classes back, and experts dense weights and the implementation that they had. Embeddings
    that keep the blocks of a GGUF file become dense, too. Linears that optimize left quantized stay so; if there are
    none, transformers takes the model for a plain one again.

    Args:
        model: an optimised model.
        dtype: the type of all parameters afterwards. Buffers keep theirs: tables of angles, for example, need float32.
        inplace: False leaves `model` as it is and returns a copy.

    Returns:
        The dense model, which can be trained.

    Raises:
        ValueError: :func:`parallelize` split the model: this process has only a part of it.
    """
    refuse_parts(model, "be restored")
    target = model if inplace else copy.deepcopy(model)
    unfuse(target)
    for module in target.modules():
        if is_packed(module):
            make_dense(module, dtype)
    with _pretrained.blocks_let_go(target):
        target = _with_dense_layers(target, dtype)
    for parameter in target.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    _pretrained.forget_quantization(target)
    return target


def _with_dense_layers(target: _ModelT, dtype: torch.dtype) -> _ModelT:
    """Replaces linears and embeddings. Returns the model, or what replaced it."""
    weights: dict[int, torch.nn.Parameter] = {}
    made: dict[int, torch.nn.Module] = {}
    for name, module in list(target.named_modules(remove_duplicate=False)):
        if not (isinstance(module, Linear) or is_gguf_embedding(module)):
            continue
        if id(module) not in made:
            made[id(module)] = (
                _dense(module, weights, dtype)
                if isinstance(module, Linear)
                else dense_embedding(module, values_of_embedding(module))
            )
        parent, _, own = name.rpartition(".")
        if name:
            put(target.get_submodule(parent), own, made[id(module)])
        else:
            target = made[id(module)]  # type: ignore[assignment]
    return target


def _dense(module: Linear, weights: dict[int, torch.nn.Parameter], dtype: torch.dtype) -> torch.nn.Linear:
    dense = torch.nn.Linear(module.in_features, module.out_features, bias=False, device="meta", dtype=dtype)
    if id(module.packed) not in weights:
        weights[id(module.packed)] = torch.nn.Parameter(module.dequantize(dtype))
    dense.weight = weights[id(module.packed)]
    if module.bias is not None:
        dense.bias = torch.nn.Parameter(module.bias.detach().to(dtype))
    take_over(dense, module)
    return dense


def dense_embedding(module: Any, values: torch.Tensor) -> torch.nn.Embedding:
    """What takes the place of an embedding in the blocks of a GGUF file, with these values."""
    made: torch.nn.Embedding = torch.nn.Embedding.from_pretrained(values, freeze=not values.is_floating_point())
    take_over(made, module)
    return made
