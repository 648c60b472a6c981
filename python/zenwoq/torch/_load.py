# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Fills models from files of optimised ones (_checkpoint.py says what is in them)."""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

import torch

from zenwoq.torch import _pretrained
from zenwoq.torch._checkpoint import KEY, VERSION, dtype_of, of_wrappers, owner_of, packed_names, plain_name
from zenwoq.torch._experts import PACKED, make_room
from zenwoq.torch._fuse import fuse as fuse_blocks
from zenwoq.torch._fuse import unfuse
from zenwoq.torch._gguf import experts_instead_of, is_gguf_embedding, is_gguf_experts
from zenwoq.torch._given import Unsupported
from zenwoq.torch._lfs import refuse_pointer
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear, aligned
from zenwoq.torch._optimize import dense_embedding
from zenwoq.torch._places import put, take_over

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)


def load(model: _ModelT, path: str | os.PathLike[str], *, mmap: bool = False, fuse: bool | None = None) -> _ModelT:
    """Fills a model from a file that :func:`save` wrote; its linears become zenwoq's, and its blocks are fused.

    Args:
        model: of the same architecture: dense, quantized or optimised, wrapped (by torch.compile, DataParallel) or not.
            Its values are not used, so it is best made without memory:
            ``with torch.device("meta"): model = AutoModelForCausalLM.from_config(config)``.
        path: the file's path.
        mmap: True maps the weights instead of reading them: they are loaded when they are used, and shared by all
            processes that map the file, which must not change meanwhile.
        fuse: as :func:`optimize` has it; None is as it was in the model that was saved.

    Returns:
        The model; a new layer if `model` itself is a dense or quantized linear.

    Raises:
        ValueError: the file is no checkpoint of zenwoq, of a newer version, damaged, or of another model. The model
            is then of no use.
        MemoryError: there is no memory for the weights.
        ImportError: safetensors is not installed.
        OSError: the file cannot be read.
    """
    tensors, about = _read(path, mmap)
    made: dict[int, tuple[torch.nn.Module, Linear]] = {}
    modules = {plain_name(model, name): name for name, _ in model.named_modules(remove_duplicate=False)}
    names = {*tensors, *about["aliases"]}
    for alias, name in about["aliases"].items():
        tensors[alias] = tensors[name]
    with _pretrained.blocks_let_go(model):
        for name, layer in about["layers"].items():
            has_bias = f"{name}.bias".lstrip(".") in names
            model = _put_layer(model, name, modules.get(name), layer, has_bias, made)
        for name in about["experts"]:
            _put_experts(model, name, modules.get(name), tensors)
        _make_embeddings_dense(model, tensors)
    hidden = set(about["buffers"])
    for name, parameter in model.named_parameters():
        tensor = tensors.get(plain_name(model, name))
        if tensor is not None and not (tensor.is_floating_point() or tensor.is_complex()):
            parameter.requires_grad_(False)  # integers, as of a model that was cast, cannot have gradients
    wrappers = of_wrappers(model)
    full = {plain_name(model, name): name for name in model.state_dict() if name not in wrappers}
    state = {full.get(n, n): t for n, t in {**tensors, **about["extra"]}.items() if n not in hidden}
    try:
        result = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    missing = [name for name in result.missing_keys if name not in wrappers]
    if missing or result.unexpected_keys:
        raise ValueError(
            f"{os.fspath(path)} is of another model: missing {missing[:5]}, "
            f"not in the model {result.unexpected_keys[:5]}"
        )
    for name in hidden:
        _put_buffer(model, name, tensors[name])
    _finish(model, path, about["aliases"])
    unfuse(model)
    blocks: bool | set[str] = about["fuse"] if fuse is None else fuse
    if blocks:
        fuse_blocks(model, lambda name: blocks is True or plain_name(model, name) in blocks)
    return model


def _read(path: str | os.PathLike[str], mmap: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    refuse_pointer(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = _parse((file.metadata() or {}).get(KEY), path)
            tensors = {_without_wrappers(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    missing = [name for name in about["aliases"].values() if name not in tensors]
    missing += [name for name in about["buffers"] if name not in tensors and name not in about["aliases"]]
    if missing:
        raise ValueError(f"{os.fspath(path)}: {missing[0]} is named but missing")
    return tensors if mmap else _in_memory(tensors, packed_names(about["layers"], about["experts"])), about


def _in_memory(tensors: dict[str, torch.Tensor], packed: set[str]) -> dict[str, torch.Tensor]:
    """Copies of what safetensors gives, which may be views of the mapped file."""
    memory = WeightMemory()

    def copied(name: str, tensor: torch.Tensor) -> torch.Tensor:
        is_bytes = tensor.dtype == torch.uint8 and tensor.numel() > 0
        return memory.copy(tensor) if name in packed and is_bytes else tensor.clone()

    return {name: copied(name, tensor) for name, tensor in tensors.items()}


def _parse(text: str | None, path: str | os.PathLike[str]) -> dict[str, Any]:
    if text is None:
        raise ValueError(f"{os.fspath(path)} is no checkpoint of zenwoq.torch.save")
    try:
        about: dict[str, Any] = json.loads(text)
        version = about["version"]
        if version == VERSION:
            layers, plain, fuse = about["layers"].items(), _without_wrappers, about.get("fuse", True)
            return {
                "layers": {plain(name): (int(n), int(k), dtype_of(kind)) for name, (n, k, kind) in layers},
                "aliases": {plain(alias): plain(name) for alias, name in about["aliases"].items()},
                "buffers": [plain(name) for name in about["buffers"]],
                "extra": {plain(name): value for name, value in about.get("extra", {}).items()},
                "experts": [plain(name) for name in about.get("experts", [])],
                "fuse": fuse if isinstance(fuse, bool) else {plain(name) for name in fuse},
            }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: its entry {KEY!r} is damaged ({error!r})") from error
    raise ValueError(f"{os.fspath(path)} has version {version}, this zenwoq reads {VERSION}")


def _without_wrappers(name: str) -> str:
    """A name in a file; older ones have names of compiled models as torch gives them."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _put_layer(
    model: _ModelT,
    name: str,
    full: str | None,
    layer: tuple[int, int, torch.dtype],
    has_bias: bool,
    made: dict[int, tuple[torch.nn.Module, Linear]],
) -> _ModelT:
    """Replaces a linear by an empty zenwoq layer of the same shape: one for each module, in all of its places.

    Args:
        model: holds the linear, or is it.
        name: the layer's name in the file.
        full: its name in the model with the parts that wrappers put in; None if it is not there.
        layer: out_features, in_features and the type of the dense weight.
        has_bias: whether the file has a bias for it.
        made: the modules that were replaced, by id, and what replaced them.

    Returns:
        The model, or what replaced it.
    """
    n, k, dtype = layer
    if full is None:
        raise ValueError(f"the model has no layer {name}")
    old = model.get_submodule(full)
    shape = (getattr(old, "out_features", None), getattr(old, "in_features", None))
    if shape != (n, k):
        raise ValueError(f"{name or 'the model'}: the file has {n} x {k}, the model {shape[0]} x {shape[1]}")
    if id(old) not in made:
        packed = torch.empty(0, dtype=torch.uint8, device="meta")
        bias = torch.empty(n, device="meta") if has_bias else None
        made[id(old)] = old, Linear(packed, bias, in_features=k, out_features=n, dtype=dtype)
        take_over(made[id(old)][1], old)
    if not full:
        return made[id(old)][1]  # type: ignore[return-value]
    parent, _, own = full.rpartition(".")
    put(model.get_submodule(parent), own, made[id(old)][1])
    return model


def _put_experts(model: torch.nn.Module, name: str, full: str | None, tensors: dict[str, torch.Tensor]) -> None:
    """Makes room for the packed experts of a module."""
    if full is None:
        raise ValueError(f"the model has no experts {name}")
    held = {own: tensors.get(f"{name}.{own}".lstrip(".")) for own in PACKED}
    module = model.get_submodule(full)
    try:
        target = experts_instead_of(module) if is_gguf_experts(module) else module
        make_room(target, {own: tensor.shape for own, tensor in held.items() if tensor is not None})
        if target is not module:
            take_over(target, module)
            parent, _, own = full.rpartition(".")
            put(model.get_submodule(parent), own, target)
    except (Unsupported, ValueError) as error:
        raise ValueError(f"{name or 'the model'}: the file has packed experts: {error}") from error


def _make_embeddings_dense(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Replaces embeddings in the blocks of a GGUF file by empty ones, if the file has their values."""
    made: dict[int, torch.nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        weight = tensors.get(plain_name(model, f"{name}.weight"))
        if name and is_gguf_embedding(module) and weight is not None:
            shape: Any = module.num_embeddings, module.embedding_dim
            if id(module) not in made:
                values = torch.empty(shape, dtype=weight.dtype, device="meta")
                made[id(module)] = dense_embedding(module, values)
            parent, _, own = name.rpartition(".")
            put(model.get_submodule(parent), own, made[id(module)])


def _put_buffer(model: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Sets a buffer that is not in state_dict, which may have grown since the model was made."""
    owner, own = owner_of(model, name)
    if own not in owner._buffers:
        raise ValueError(f"the model has no buffer {name}")
    owner._buffers[own] = tensor


def _finish(model: torch.nn.Module, path: str | os.PathLike[str], aliases: dict[str, str]) -> None:
    for module in model.modules():
        if isinstance(module, Linear):
            module.packed = aligned(module.packed)
    for alias, name in aliases.items():
        _share(model, alias, name)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise ValueError(f"{os.fspath(path)}: {plain_name(model, name)} of the model is not in the file")


def _share(model: torch.nn.Module, alias: str, name: str) -> None:
    """Makes two names of one tensor name one object again, as in the model that was saved."""
    (to, own), (source, other) = (owner_of(model, each) for each in (alias, name))
    for tensors in ("_parameters", "_buffers"):
        if own in getattr(to, tensors) and other in getattr(source, tensors):
            getattr(to, tensors)[own] = getattr(source, tensors)[other]
