# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""save_pretrained and from_pretrained of transformers' models with packed layers, as far as it needs no transformers.

zenwoq does not import transformers, which takes seconds: its quantization is registered when somebody else does.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch

from zenwoq.torch._module import Linear

_REGISTRY = "transformers.quantizers.auto"


def announce() -> None:
    """Lets transformers know the quantization "zenwoq", now or as soon as it is imported."""
    if _REGISTRY in sys.modules:
        _register()
    elif not any(isinstance(finder, _WaitsForTransformers) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WaitsForTransformers())


def _register() -> None:
    with contextlib.suppress(ImportError, AttributeError):  # this version of transformers loads weights in another way
        from zenwoq.torch import _transformers

        _transformers.register()


class _WaitsForTransformers(importlib.abc.MetaPathFinder):
    """Registers the quantization right after transformers' registry has been imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds the registry as Python would, and adds to its execution."""
        if name != _REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def attach(model: torch.nn.Module) -> None:
    """Makes every model of transformers in it that has packed layers save itself as such."""
    for each in _pretrained_models(model):
        if any(isinstance(module, Linear) for module in each.modules()):
            from zenwoq.torch import _transformers

            _transformers.attach(each)


def detach(model: torch.nn.Module) -> None:
    """Undoes attach where no packed layers are left."""
    for each in _pretrained_models(model):
        if not any(isinstance(module, Linear) for module in each.modules()):
            from zenwoq.torch import _transformers

            _transformers.detach(each)


def _pretrained_models(model: torch.nn.Module) -> Iterator[Any]:
    """transformers' models in a module; none if this version of transformers has no quantization to register."""
    modeling: Any = sys.modules.get("transformers.modeling_utils")
    if modeling is not None and "zenwoq.torch._transformers" in sys.modules:
        yield from (module for module in model.modules() if isinstance(module, modeling.PreTrainedModel))
