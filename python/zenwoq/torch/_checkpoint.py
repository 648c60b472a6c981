# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Optimised models in safetensors files, which _save.py writes and _load.py reads.

The file holds every parameter and buffer by its name, packed weights as uint8. The metadata entry "zenwoq" is JSON:

    {"version": 1, "layers": {name: [out_features, in_features, dtype of the dense weight]},
     "aliases": {name: name of the same tensor}, "buffers": [names of buffers that are not in state_dict],
     "extra": {name: extra state that is no tensor}, "experts": [names of modules of packed experts],
     "fuse": true, false, or names of blocks to fuse (if missing, true)}

Names are those of the model itself, without the parts that torch.compile and the like put in. Packed weights come first
and the header is padded, so that they lie at multiples of 64 in the file and can be used where they are when the file
is mapped.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from zenwoq.torch._experts import PACKED
from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._module import Linear

VERSION = 1
KEY = "zenwoq"  # of the metadata
TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def packed_layers(model: torch.nn.Module) -> dict[str, Linear]:
    """zenwoq's layers by their plain names: a layer that is in several places has several."""
    modules = model.named_modules(remove_duplicate=False)
    return {plain_name(model, name): module for name, module in modules if isinstance(module, Linear)}


def packed_experts(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules of packed experts by their plain names."""
    modules = model.named_modules(remove_duplicate=False)
    return {plain_name(model, name): module for name, module in modules if is_packed(module)}


def packed_names(layers: Iterable[str], experts: Iterable[str]) -> set[str]:
    """The names of the packed weights of linears and modules of experts."""
    stacks = {f"{name}.{own}".lstrip(".") for name in experts for own in PACKED}
    return {f"{name}.packed".lstrip(".") for name in layers} | stacks


def _inner(module: torch.nn.Module) -> str:
    """The name under which a wrapper (of torch.compile, DataParallel, ...) holds its module; empty if it is none."""
    for name in ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"):
        if name in module._modules:
            return name
    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
    return "module" if isinstance(module, wrappers) else ""


def of_wrappers(model: torch.nn.Module) -> set[str]:
    """The names of the tensors that wrappers have for themselves, as AveragedModel counts its updates."""
    return {
        f"{name}.{own}".lstrip(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if _inner(module)
        for own in [*module._parameters, *module._buffers]
    }


def plain_name(model: torch.nn.Module, name: str) -> str:
    """A name in the model without the parts that wrappers put in."""
    parts = []
    module: torch.nn.Module | None = model
    for part in name.split("."):
        if module is None or part != _inner(module):
            parts.append(part)
        module = module._modules.get(part) if module is not None else None
    return ".".join(parts)


def dtype_of(name: str) -> torch.dtype:
    """A dtype that files may have, by its name. Raises KeyError."""
    return {name_of(dtype): dtype for dtype in TYPE_NAMES}[name]


def name_of(dtype: torch.dtype) -> str:
    """For example ``"bfloat16"``."""
    return str(dtype).removeprefix("torch.")


def owner_of(model: torch.nn.Module, name: str) -> tuple[torch.nn.Module, str]:
    """The module that has a plain name's tensor, and its name there."""
    *path, own = name.split(".")
    module = model
    for part in [*path, ""]:
        while inner := _inner(module):
            module = module.get_submodule(inner)
        if part and module._modules.get(part) is None:
            raise ValueError(f"the model has no {name}")
        module = module.get_submodule(part) if part else module
    return module, own
