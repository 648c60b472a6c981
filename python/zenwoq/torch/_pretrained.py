# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""save_pretrained and from_pretrained of transformers' models with packed layers, as far as it needs no transformers.

zenwoq does not import transformers, which takes seconds: its quantization is registered when somebody else does.
save_pretrained then looks for packed layers by itself, however they came into the model.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import sys
import weakref
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch

from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._gguf import is_in_gguf_blocks
from zenwoq.torch._module import Linear
from zenwoq.torch._quantizers import is_of_quantizer

_MODELS = "transformers.modeling_utils"
# The quantizations that optimize and restore take layers out of.
_OTHERS = ("torchao", "gguf", "gptq", "awq", "compressed-tensors", "bitsandbytes")


def announce() -> None:
    """Lets transformers know the quantization "zenwoq", now or as soon as it is imported."""
    models = getattr(sys.modules.get(_MODELS), "PreTrainedModel", None)
    if models is not None:
        _register(models)
    elif not any(isinstance(finder, _WaitsForTransformers) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WaitsForTransformers())


class _WaitsForTransformers(importlib.abc.MetaPathFinder):
    """Registers the quantization right after transformers' models have been imported; until then it stays."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds the module as Python would without it, and adds to its execution."""
        if name != _MODELS:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            announce()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register(models: Any) -> None:
    """Registers the quantization, and lets models with packed layers save themselves as such: once."""
    save, dequantize = models.save_pretrained, getattr(models, "dequantize", None)
    if hasattr(save, "knows_zenwoq"):
        return
    reason: Exception | None = None
    try:
        from zenwoq.torch import _transformers

        _transformers.register()
    except Exception as error:  # this version of transformers loads weights in another way
        reason = error

    @functools.wraps(save)
    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> Any:
        if reason is None:
            with _transformers.marked(self):
                return save(self, *args, **kwargs)
        if _has_packed_layers(self):
            raise RuntimeError(
                f"this version of transformers cannot load packed layers of zenwoq ({type(reason).__name__}: "
                f"{reason}): use zenwoq.torch.save, or make them dense with zenwoq.torch.restore"
            ) from reason
        return save(self, *args, **kwargs)

    save_pretrained.knows_zenwoq = True  # type: ignore[attr-defined]
    models.save_pretrained = save_pretrained
    if dequantize is None:
        return

    @functools.wraps(dequantize)
    def restored(self: Any, dtype: Any = None) -> Any:
        from zenwoq.torch._optimize import restore

        return restore(self, dtype=dtype or self.dtype) if _has_packed_layers(self) else dequantize(self, dtype)

    models.dequantize = restored


def _has_packed_layers(model: torch.nn.Module) -> bool:
    return any(isinstance(module, Linear) or is_packed(module) for module in model.modules())


@contextlib.contextmanager
def blocks_let_go(model: torch.nn.Module) -> Iterator[None]:
    """While it is active, transformers' models in it do not hold their modules in blocks of a GGUF file once more.

    Their quantizers list these modules, which would keep in memory what is replaced. Afterwards the lists have what is
    still in the models.
    """
    models = getattr(sys.modules.get(_MODELS), "PreTrainedModel", ())
    listed: list[tuple[Any, dict[str, Any], dict[str, weakref.ref[Any]]]] = []
    for each in model.modules():
        quantizer = getattr(each, "hf_quantizer", None) if isinstance(each, models) else None
        held = getattr(quantizer, "packed_modules", None)
        if isinstance(held, dict):
            listed.append((each, held, {name: weakref.ref(module) for name, module in held.items()}))
    try:
        for _, held, _ in listed:
            held.clear()
        yield
    finally:
        for each, held, before in listed:
            present = {id(module): module for module in each.modules()}
            left = {name: present.get(id(module())) for name, module in before.items()}
            held.update((name, module) for name, module in left.items() if module is not None)


def forget_quantization(model: torch.nn.Module) -> None:
    """Makes transformers' models in it whose layers are all dense again save themselves as dense ones."""
    models = getattr(sys.modules.get(_MODELS), "PreTrainedModel", ())
    for each in model.modules():
        quantizer: Any = getattr(each, "hf_quantizer", None) if isinstance(each, models) else None
        if quantizer is None or quantizer.quantization_config.quant_method not in _OTHERS:
            continue
        is_dense = all(type(parameter) is torch.nn.Parameter for parameter in each.parameters())
        others = (
            isinstance(m, Linear) or is_packed(m) or is_in_gguf_blocks(m) or is_of_quantizer(m) for m in each.modules()
        )
        if is_dense and not any(others):
            quantizer.remove_quantization_config(each)
            for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):  # for which transformers refuses casts
                vars(each).pop(mark, None)
