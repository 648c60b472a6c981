# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Optimised models in safetensors files.

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

import ctypes
import json
import os
from collections.abc import Iterable
from typing import Any, TypeVar

import torch

from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch import _pretrained
from zenwoq.torch._experts import PACKED, is_packed, make_room, problem_of
from zenwoq.torch._files import whole_file
from zenwoq.torch._fuse import fuse as fuse_blocks
from zenwoq.torch._fuse import unfuse, what_is_fused
from zenwoq.torch._gguf import (
    experts_instead_of,
    is_gguf_embedding,
    is_gguf_experts,
    is_in_gguf_blocks,
    values_of_embedding,
)
from zenwoq.torch._given import Unsupported
from zenwoq.torch._group import refuse_parts
from zenwoq.torch._lfs import refuse_pointer
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear, aligned
from zenwoq.torch._optimize import dense_embedding
from zenwoq.torch._places import put, take_over

_ModelT = TypeVar("_ModelT", bound=torch.nn.Module)

VERSION = 1
_KEY = "zenwoq"
_EXTRA_STATE = "_extra_state"
_TYPE_NAMES = {
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


def save(model: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes an optimised model to a safetensors file, whole or not at all; :func:`load` reads all that this writes.

    A model that torch.compile, DataParallel or the like wraps gives the same file as the model in it. Embeddings in the
    blocks of a GGUF file are saved with their values. Extra state (``get_extra_state``) may be a tensor or what JSON
    can hold. No other thread may change the model meanwhile; any number of threads and processes may write one path,
    and one of them wins.

    Args:
        model: with packed and plain tensors on the CPU.
        path: the file's path. An existing file is replaced when all is on the disk, and keeps its mode, its owner and
            group as far as this process may set them, and no other attributes; if it fails (the disk is full), the old
            file is as it was. Behind a symbolic link, the link's target is replaced; another name of the same file (a
            hard link) keeps the old one. A device or a pipe is written straight.

    Raises:
        ValueError: the model has no zenwoq layer, or something that the file cannot hold (a tensor of a layer that
            another library quantized, or in the blocks of a GGUF file, or not on the CPU; a damaged packed weight;
            extra state; what :func:`parallelize` split), which the message names. Nothing has been written then.
        OSError: the file cannot be written.
    """
    layers, experts = packed_layers(model), packed_experts(model)
    if not layers and not experts:
        raise ValueError("the model has no zenwoq layer: call zenwoq.torch.optimize first")
    state, extra = saved_state(model)
    wrappers = _of_wrappers(model)
    buffers = {name: b for name, b in model.named_buffers(remove_duplicate=False) if name not in wrappers}
    hidden = {plain_name(model, name): buffer for name, buffer in buffers.items()}
    hidden = {name: _storable(name, buffer) for name, buffer in hidden.items() if name not in state}
    tensors, aliases = _without_aliases({**state, **hidden})
    packed = _packed_names(layers, experts)
    names = sorted(tensors, key=lambda name: (name not in packed, -tensors[name].element_size(), name))
    fused = what_is_fused(model)
    about = {
        "version": VERSION,
        "layers": {name: _about_layer(name, layer) for name, layer in layers.items()},
        "aliases": aliases,
        "buffers": sorted(hidden),
        "extra": extra,
        "experts": sorted(experts),
        "fuse": fused if isinstance(fused, bool) else [plain_name(model, name) for name in fused],
    }
    _write(path, names, tensors, {"format": "pt", _KEY: json.dumps(about)})


def packed_layers(model: torch.nn.Module) -> dict[str, Linear]:
    """zenwoq's layers by their plain names: a layer that is in several places has several."""
    modules = model.named_modules(remove_duplicate=False)
    return {plain_name(model, name): module for name, module in modules if isinstance(module, Linear)}


def packed_experts(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules of packed experts by their plain names."""
    modules = model.named_modules(remove_duplicate=False)
    return {plain_name(model, name): module for name, module in modules if is_packed(module)}


def _packed_names(layers: Iterable[str], experts: Iterable[str]) -> set[str]:
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


def _of_wrappers(model: torch.nn.Module) -> set[str]:
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


def saved_state(model: torch.nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a file of the model holds, by plain names: the tensors of its state_dict, and extra state that is no tensor.

    Raises:
        ValueError: something cannot be saved, which the message names.
    """
    refuse_parts(model, "be saved")
    for name, layer in packed_layers(model).items():
        if problem := layer.problem_of(layer.packed):
            raise ValueError(f"{name}.packed cannot be saved: {problem}".lstrip("."))
    for name, module in packed_experts(model).items():
        if problem := problem_of(module):
            raise ValueError(f"{name}.{problem}".lstrip("."))
    tensors: dict[str, torch.Tensor] = {}
    extra: dict[str, Any] = {}
    blocks = {
        f"{name}.{own}".lstrip("."): module
        for name, module in model.named_modules(remove_duplicate=False)
        if is_in_gguf_blocks(module)
        for own in module._parameters
        if own != "bias"
    }
    wrappers = _of_wrappers(model)
    for full, held in model.state_dict().items():
        if full in wrappers:
            continue
        name = plain_name(model, full)
        if full in blocks and not is_gguf_embedding(blocks[full]):
            raise ValueError(f"{name} is in the blocks of a GGUF file, which the file cannot hold")
        value = values_of_embedding(blocks[full]) if full in blocks else held
        if isinstance(value, torch.Tensor):
            tensors[name] = _storable(name, value)
        elif full.rpartition(".")[2] == _EXTRA_STATE and _is_json(value):
            extra[name] = value
        else:
            raise ValueError(f"{name} is a {type(value).__name__} that is neither a tensor nor JSON's")
    return tensors, extra


def _is_json(value: Any) -> bool:
    """Whether JSON gives the value back as it is."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _storable(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's values in memory. Raises ValueError if safetensors cannot hold it."""
    if (
        type(tensor) not in (torch.Tensor, torch.nn.Parameter)
        or tensor.dtype not in _TYPE_NAMES
        or tensor.layout != torch.strided
    ):
        kind = "" if tensor.layout == torch.strided else f" {tensor.layout}"
        raise ValueError(f"{name} is a {type(tensor).__name__} of {tensor.dtype}{kind}, which safetensors cannot hold")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}, must be on the CPU")
    return tensor.detach().resolve_conj().resolve_neg()


def _about_layer(name: str, layer: Linear) -> tuple[int, int, str]:
    dtype = layer.weight.dtype
    if dtype not in _TYPE_NAMES:
        raise ValueError(f"{name}.weight stands for {dtype}, which safetensors cannot hold".lstrip("."))
    return layer.out_features, layer.in_features, name_of(dtype)


def _without_aliases(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors to write, each once, and the other names that some have."""
    written: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[Any, str] = {}
    for name, value in tensors.items():
        same = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() > 0 and same in first:
            aliases[name] = first[same]
        else:
            first[same] = name
            written[name] = value
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
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(_bytes_of(tensors[name]))


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    if tensor.numel() == 0:
        return memoryview(b"")
    whole = tensor.contiguous()
    memory = (ctypes.c_uint8 * whole.nbytes).from_address(whole.data_ptr())
    memory._owner = whole  # type: ignore[attr-defined]
    return memoryview(memory)


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
    wrappers = _of_wrappers(model)
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
            about = _parse((file.metadata() or {}).get(_KEY), path)
            tensors = {_without_wrappers(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    missing = [name for name in about["aliases"].values() if name not in tensors]
    missing += [name for name in about["buffers"] if name not in tensors and name not in about["aliases"]]
    if missing:
        raise ValueError(f"{os.fspath(path)}: {missing[0]} is named but missing")
    return tensors if mmap else _in_memory(tensors, _packed_names(about["layers"], about["experts"])), about


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
        raise ValueError(f"{os.fspath(path)}: its entry {_KEY!r} is damaged ({error!r})") from error
    raise ValueError(f"{os.fspath(path)} has version {version}, this zenwoq reads {VERSION}")


def _without_wrappers(name: str) -> str:
    """A name in a file; older ones have names of compiled models as torch gives them."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def dtype_of(name: str) -> torch.dtype:
    """A dtype that files may have, by its name. Raises KeyError."""
    return {name_of(dtype): dtype for dtype in _TYPE_NAMES}[name]


def name_of(dtype: torch.dtype) -> str:
    """For example ``"bfloat16"``."""
    return str(dtype).removeprefix("torch.")


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
    owner, own = _owner_of(model, name)
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
    (to, own), (source, other) = (_owner_of(model, each) for each in (alias, name))
    for tensors in ("_parameters", "_buffers"):
        if own in getattr(to, tensors) and other in getattr(source, tensors):
            getattr(to, tensors)[own] = getattr(source, tensors)[other]


def _owner_of(model: torch.nn.Module, name: str) -> tuple[torch.nn.Module, str]:
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
