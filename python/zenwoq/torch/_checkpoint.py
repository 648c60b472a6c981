# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Optimised models in safetensors files.

The file holds every parameter and buffer by its name, packed weights as uint8. The metadata entry "zenwoq" is JSON:

    {"version": 1, "layers": {name: [out_features, in_features, dtype of the dense weight]},
     "aliases": {name: name of the same tensor}, "buffers": [names of buffers that are not in state_dict]}

Packed weights come first and the header is padded, so that they lie at multiples of 64 in the file and can be used
where they are when the file is mapped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, TypeVar

import torch

from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._lfs import refuse_pointer
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear, aligned
from zenwoq.torch._optimize import take_over

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)

VERSION = 1
_KEY = "zenwoq"
_TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save(model: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes an optimised model to a safetensors file, whole or not at all.

    Args:
        model: with packed and plain tensors on the CPU.
        path: the file's path; an existing file is replaced.

    Raises:
        ValueError: the model has no zenwoq layer, or a tensor that safetensors cannot hold (of a layer that another
            library quantized), which the message names.
        OSError: the file cannot be written.
    """
    layers = {name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, Linear)}
    if not layers:
        raise ValueError("the model has no zenwoq layer: call zenwoq.torch.optimize first")
    state = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}
    hidden = {name: buffer for name, buffer in model.named_buffers(remove_duplicate=False) if name not in state}
    tensors, aliases = _without_aliases({**state, **hidden})
    packed = {f"{name}.packed".lstrip(".") for name in layers}
    names = sorted(tensors, key=lambda name: (name not in packed, -tensors[name].element_size(), name))
    about = {
        "version": VERSION,
        "layers": {name: _about_layer(layer) for name, layer in layers.items()},
        "aliases": aliases,
        "buffers": sorted(hidden),
    }
    _write(path, names, tensors, {"format": "pt", _KEY: json.dumps(about)})


def _about_layer(layer: Linear) -> tuple[int, int, str]:
    return layer.out_features, layer.in_features, str(layer.weight.dtype).removeprefix("torch.")


def _without_aliases(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors to write, each once, and the other names that some have."""
    written: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[Any, str] = {}
    for name, tensor in tensors.items():
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.dtype not in _TYPE_NAMES:
            raise ValueError(f"{name} is a {type(tensor).__name__} of {tensor.dtype}, which safetensors cannot hold")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}, must be on the CPU")
        same = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() > 0 and same in first:
            aliases[name] = first[same]
        else:
            first[same] = name
            written[name] = tensor.detach()
    return written, aliases


def _write(
    path: str | os.PathLike[str], names: Iterable[str], tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        header[name] = {"dtype": _TYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % PACKED_ALIGNMENT)
    part = f"{os.fspath(path)}.part{os.getpid()}"
    try:
        with open(part, "wb") as file:
            file.write(len(text).to_bytes(8, "little"))
            file.write(text)
            for name in names:
                file.write(_bytes_of(tensors[name]))
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import ctypes

    if tensor.numel() == 0:
        return memoryview(b"")
    whole = tensor.contiguous()
    memory = (ctypes.c_uint8 * whole.nbytes).from_address(whole.data_ptr())
    memory._owner = whole  # type: ignore[attr-defined]
    return memoryview(memory)


def load(model: _ModelT, path: str | os.PathLike[str], *, mmap: bool = False) -> _ModelT:
    """Fills a model from a file that :func:`save` wrote; its linears become zenwoq's.

    Args:
        model: of the same architecture: dense, quantized or optimised. Its values are not used, so it is best made
            without memory: ``with torch.device("meta"): model = AutoModelForCausalLM.from_config(config)``.
        path: the file's path.
        mmap: True maps the weights instead of reading them: they are loaded when they are used, and shared by all
            processes that map the file, which must not change meanwhile.

    Returns:
        The model.

    Raises:
        ValueError: the file is no checkpoint of zenwoq, of a newer version, damaged, or of another model. The model
            is then of no use.
        MemoryError: there is no memory for the weights.
        ImportError: safetensors is not installed.
        OSError: the file cannot be read.
    """
    tensors, about = _read(path, mmap)
    made: dict[int, tuple[torch.nn.Module, Linear]] = {}
    for name, layer in about["layers"].items():
        _put_layer(model, name, layer, f"{name}.bias".lstrip(".") in {*tensors, *about["aliases"]}, made)
    for alias, name in about["aliases"].items():
        tensors[alias] = tensors[name]
    hidden = set(about["buffers"])
    try:
        result = model.load_state_dict({n: t for n, t in tensors.items() if n not in hidden}, strict=False, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    if result.missing_keys or result.unexpected_keys:
        raise ValueError(
            f"{os.fspath(path)} is of another model: missing {result.missing_keys[:5]}, "
            f"not in the model {result.unexpected_keys[:5]}"
        )
    for name in hidden:
        _put_buffer(model, name, tensors[name])
    return _finish(model, path, about["aliases"])


def _read(path: str | os.PathLike[str], mmap: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    refuse_pointer(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = _parse((file.metadata() or {}).get(_KEY), path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    missing = [name for name in about["aliases"].values() if name not in tensors]
    missing += [name for name in about["buffers"] if name not in tensors and name not in about["aliases"]]
    if missing:
        raise ValueError(f"{os.fspath(path)}: {missing[0]} is named but missing")
    return tensors if mmap else _in_memory(tensors, about["layers"]), about


def _in_memory(tensors: dict[str, torch.Tensor], layers: Iterable[str]) -> dict[str, torch.Tensor]:
    """Copies of what safetensors gives, which may be views of the mapped file."""
    memory = WeightMemory()
    packed = {f"{name}.packed" for name in layers}

    def copied(name: str, tensor: torch.Tensor) -> torch.Tensor:
        is_bytes = tensor.dtype == torch.uint8 and tensor.dim() == 1 and tensor.numel() > 0
        return memory.copy(tensor) if name in packed and is_bytes else tensor.clone()

    return {name: copied(name, tensor) for name, tensor in tensors.items()}


def _parse(text: str | None, path: str | os.PathLike[str]) -> dict[str, Any]:
    if text is None:
        raise ValueError(f"{os.fspath(path)} is no checkpoint of zenwoq.torch.save")
    try:
        about: dict[str, Any] = json.loads(text)
        version = about["version"]
        if version == VERSION:
            return {
                "layers": {str(name): (int(n), int(k), _dtype(kind)) for name, (n, k, kind) in about["layers"].items()},
                "aliases": {str(alias): str(name) for alias, name in about["aliases"].items()},
                "buffers": [str(name) for name in about["buffers"]],
            }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: its entry {_KEY!r} is damaged ({error!r})") from error
    raise ValueError(f"{os.fspath(path)} has version {version}, this zenwoq reads {VERSION}")


def _dtype(name: str) -> torch.dtype:
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]


def _put_layer(
    model: torch.nn.Module,
    name: str,
    layer: tuple[int, int, torch.dtype],
    has_bias: bool,
    made: dict[int, tuple[torch.nn.Module, Linear]],
) -> None:
    """Replaces a linear by an empty zenwoq layer of the same shape: one for each module, in all of its places."""
    n, k, dtype = layer
    try:
        old = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"the model has no layer {name}") from error
    shape = (getattr(old, "out_features", None), getattr(old, "in_features", None))
    if shape != (n, k):
        raise ValueError(f"{name}: the file has {n} x {k}, the model {shape[0]} x {shape[1]}")
    if not name:
        raise ValueError("the model itself is a linear: put it into a module")
    if id(old) not in made:
        packed = torch.empty(0, dtype=torch.uint8, device="meta")
        bias = torch.empty(n, device="meta") if has_bias else None
        made[id(old)] = old, Linear(packed, bias, in_features=k, out_features=n, dtype=dtype)
        take_over(made[id(old)][1], old)
    owner, own = _owner_of(model, name)
    setattr(owner, own, made[id(old)][1])


def _put_buffer(model: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Sets a buffer that is not in state_dict."""
    owner, own = _owner_of(model, name)
    if own not in owner._buffers:
        raise ValueError(f"the model has no buffer {name}")
    old = owner._buffers[own]
    if old is not None and (old.shape, old.is_floating_point()) != (tensor.shape, tensor.is_floating_point()):
        raise ValueError(
            f"{name}: the file has {list(tensor.shape)} {tensor.dtype}, the model {list(old.shape)} {old.dtype}"
        )
    owner._buffers[own] = tensor


def _finish(model: _ModelT, path: str | os.PathLike[str], aliases: dict[str, str]) -> _ModelT:
    for module in model.modules():
        if isinstance(module, Linear):
            module.packed = aligned(module.packed)
    for alias, name in aliases.items():
        _share(model, alias, name)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise ValueError(f"{os.fspath(path)}: {name} of the model is not in the file")
    return model


def _share(model: torch.nn.Module, alias: str, name: str) -> None:
    """Makes two names of one tensor name one object again, as in the model that was saved."""
    (to, own), (source, other) = (_owner_of(model, each) for each in (alias, name))
    for tensors in ("_parameters", "_buffers"):
        if own in getattr(to, tensors) and other in getattr(source, tensors):
            getattr(to, tensors)[own] = getattr(source, tensors)[other]


def _owner_of(model: torch.nn.Module, name: str) -> tuple[torch.nn.Module, str]:
    parent, _, own = name.rpartition(".")
    try:
        return model.get_submodule(parent), own
    except AttributeError as error:
        raise ValueError(f"the model has no {name}") from error
