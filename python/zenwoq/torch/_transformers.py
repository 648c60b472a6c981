# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The quantization "zenwoq" of transformers: what save_pretrained writes and from_pretrained reads of packed layers.

config.json has ``"quantization_config": {"quant_method": "zenwoq", "version": 1}``, with ``"dtypes": {layer: dtype}``
of the packed layers whose dense weight has another dtype than the model, and ``"fuse": false`` if the model's blocks
were apart (see zenwoq.torch.optimize), or the names of those that were fused, if others were apart. The safetensors
files have the model's own names; the packed weight of a linear is a uint8 tensor ``[bytes]`` with the name of the dense
weight. Packed experts are uint8 tensors ``[experts, bytes]``: "gate_up_proj" is gate's, "up_packed" up's,
"down_proj" down's; their biases are "gate_bias", "up_bias", "down_bias". So which layers are packed is in the files,
and a transformers that does not know this quantization (it would only warn and leave the layers as they were
initialized) refuses them: a weight must have two dimensions, one of experts three.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Collection, Iterator
from typing import Any

import torch
from transformers.core_model_loading import WeightRenaming
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from zenwoq.torch._checkpoint import dtype_of, name_of, packed_experts, packed_layers, plain_name
from zenwoq.torch._experts import make_room, problem_of
from zenwoq.torch._experts import register as register_experts
from zenwoq.torch._fuse import fuse, what_is_fused
from zenwoq.torch._given import Unsupported
from zenwoq.torch._module import Linear
from zenwoq.torch._places import put, take_over
from zenwoq.torch._save import saved_state

METHOD = "zenwoq"
VERSION = 1
_DENSE, _PACKED = ".weight", ".packed"
_STACKS = {"gate_up_proj": "gate_packed", "up_packed": "up_packed", "down_proj": "down_packed"}  # in files, in models


class ZenwoqConfig(QuantizationConfigMixin):
    """The ``quantization_config`` of a model with packed layers.

    Args:
        version: of what the files hold.
        quant_method: ``"zenwoq"``.
        dtypes: by the names of packed layers in the files, the dtype of their dense weight, as ``"float32"``; of the
            others it is the model's.
        fuse: whether blocks are fused when the model is loaded; or the names, in the files, of those that are.

    Raises:
        ValueError: the version is not one that this zenwoq reads, or `dtypes` has something else than dtypes, or `fuse`
            is neither.
    """

    def __init__(
        self,
        version: int = VERSION,
        quant_method: str = METHOD,
        dtypes: dict[str, str] | None = None,
        fuse: bool | list[str] = True,
    ):
        if version != VERSION:
            raise ValueError(f"the model's packed weights have version {version}, this zenwoq reads {VERSION}")
        self.quant_method = quant_method  # type: ignore[assignment]
        self.version = version
        try:
            for kind in (dtypes or {}).values():
                dtype_of(kind)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"the quantization_config's dtypes are no dtypes of layers: {dtypes!r}") from error
        if not isinstance(fuse, bool) and not (isinstance(fuse, list) and all(isinstance(n, str) for n in fuse)):
            raise ValueError(f"the quantization_config's fuse is {fuse!r}, must be true, false or a list of names")
        if dtypes:
            self.dtypes = dtypes
        if fuse is not True:
            self.fuse = fuse


class ZenwoqQuantizer(HfQuantizer):
    """Loads and saves packed layers. It quantizes nothing: that is for TorchAO and zenwoq.torch.optimize to do."""

    requires_calibration = True  # refuses a model that is not packed yet

    def validate_environment(self, *args: Any, device_map: Any = None, **kwargs: Any) -> None:
        """Refuses places where the packed layers cannot run."""
        places = device_map.values() if isinstance(device_map, dict) else [device_map]
        for place in places:
            if str(place) not in ("None", "auto", "balanced", "balanced_low_0", "sequential", "cpu"):
                raise ValueError(f'device_map has {place}, but zenwoq runs on the CPU: device_map="cpu", or none')

    def update_device_map(self, device_map: Any) -> Any:
        """The CPU, wherever transformers would put it by itself."""
        return {"": "cpu"} if isinstance(device_map, str) else device_map

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: list[str] | None = None, **kwargs: Any
    ) -> Any:
        """Replaces the linears that are packed in the files by empty zenwoq layers."""
        self.packed_names = {}
        packed, names = _packed_in(checkpoint_files or [])
        dtypes = getattr(self.quantization_config, "dtypes", {})
        for file, name, size in packed:
            own = own_name(model, name)
            if own is None and _lacks(model, name):
                continue
            if own is None:
                raise ValueError(f"{file} has a packed weight for {name}, which has no place in the model")
            linear = model.get_submodule(own)
            if not isinstance(linear, torch.nn.Linear | Linear):
                raise ValueError(f"{file} has a packed weight for {own}, which is a {type(linear).__name__}")
            has_bias = f"{name}.bias" in names
            if has_bias != (linear.bias is not None):
                which = "the files and not in the model" if has_bias else "the model and not in the files"
                raise ValueError(f"{file}: {name}.bias, of a layer with a packed weight, is in {which}")
            dtype = dtype_of(dtypes[name]) if name in dtypes else linear.weight.dtype
            replace_linear(model, own, torch.empty(size, dtype=torch.uint8, device="meta"), dtype)
            self.packed_names[name] = own
        self.expert_names = _make_room_for_experts(model, checkpoint_files or [])
        if not self.packed_names and not self.expert_names:
            raise ValueError(f"{(checkpoint_files or ['the checkpoint'])[0]} has no packed weight of zenwoq")
        model.all_tied_weights_keys = tied_without(model, self.packed_names.values())
        return model

    def update_weight_conversions(self, weight_conversions: list[Any], model: Any) -> list[Any]:
        """No conversions but our own: the files have the model's own names, and packed weights cannot be cut."""
        names, experts = ("|".join(map(re.escape, own)) for own in (self.packed_names, self.expert_names))
        renamed = [(rf"^({names}){re.escape(_DENSE)}$", rf"\1{_PACKED}")] if names else []
        for file, own in _STACKS.items() if experts else ():
            renamed.append((rf"^({experts})\.{file}$", rf"\1.{own}"))
        return [WeightRenaming(*pair) for pair in renamed]

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        for own in self.packed_names.values():
            layer = model.get_submodule(own)
            if problem := layer.problem_of(layer.packed):
                raise ValueError(f"{own}{_DENSE}: {problem}")
        for own in self.expert_names.values():
            if problem := problem_of(model.get_submodule(own)):
                raise ValueError(f"{own}.{problem}")
        blocks = getattr(self.quantization_config, "fuse", True)
        wanted = {own_name(model, name) for name in blocks} if isinstance(blocks, list) else set()
        fuse(model, lambda name: blocks is True or name in wanted)
        # What was loaded is like what was saved: a model with layers of zenwoq's, which only a file has to be told of.
        self.remove_quantization_config(model)  # type: ignore[no-untyped-call]
        return model

    def get_state_dict_and_metadata(self, model: Any) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """What save_pretrained writes. Raises ValueError naming what it cannot hold."""
        tensors, extra = saved_state(model)
        if extra:
            raise ValueError(f"{next(iter(extra))} is no tensor: only zenwoq.torch.save keeps it")
        state = {}
        seen: set[int] = set()
        packed = {f"{name}{_PACKED}" for name in packed_layers(model)}
        stacks = {f"{name}.{own}": f"{name}.{file}" for name in packed_experts(model) for file, own in _STACKS.items()}
        for name, tensor in tensors.items():
            if name in stacks:
                state[stacks[name]] = tensor
                continue
            if name not in packed:
                state[name] = tensor
                continue
            # transformers does not know that linears share a packed weight, so each gets one of its own.
            shared = tensor.data_ptr() in seen
            seen.add(tensor.data_ptr())
            state[name.removesuffix(_PACKED) + _DENSE] = tensor.clone() if shared else tensor
        return state, {}

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        """They can be saved."""
        return True

    @property
    def is_trainable(self) -> bool:
        """There are no gradients."""
        return False

    @property
    def is_compileable(self) -> bool:
        """The layers work under torch.compile."""
        return True


def register() -> None:
    """Makes transformers know the quantization, once, and the implementation of experts."""
    register_experts()
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(METHOD)(ZenwoqConfig)
        register_quantizer(METHOD)(ZenwoqQuantizer)


@contextlib.contextmanager
def marked(model: Any) -> Iterator[None]:
    """While it is active, save_pretrained of a model writes its packed layers as such; or none if it has none.

    Everything is as it was afterwards. Other models may have the same config, so that a copy gets the mark.
    """
    layers = packed_layers(model)
    config = copy.copy(model.config)
    marks: dict[str, Any] = {"config": config}
    if layers or packed_experts(model):
        dtypes = {name: layer.weight.dtype for name, layer in layers.items() if layer.weight.dtype != model.dtype}
        named = {name: name_of(dtype) for name, dtype in dtypes.items()}
        fused = what_is_fused(model)
        if isinstance(fused, list):
            fused = [plain_name(model, name) for name in fused]
        quantization = ZenwoqConfig(dtypes=named, fuse=fused)
        config.quantization_config = quantization
        marks["hf_quantizer"] = ZenwoqQuantizer(quantization, pre_quantized=True)
        # Packed weights can be neither cut nor joined, so files have the model's own names.
        marks["_weight_conversions"] = []
        marks["all_tied_weights_keys"] = tied_without(model, layers)
    elif _method_of(config) == METHOD:  # the config is from a folder with packed weights, the model is not
        del config.quantization_config
    else:
        marks = {}
    before = {name: vars(model)[name] for name in marks if name in vars(model)}
    vars(model).update(marks)
    try:
        yield
    finally:
        for name in marks:
            vars(model).pop(name, None)
        vars(model).update(before)


def replace_linear(model: Any, name: str, packed: torch.Tensor, dtype: torch.dtype) -> None:
    """Puts a layer with this packed weight, which may have no values yet, into the place of a dense linear."""
    linear = model.get_submodule(name)
    made = Linear(packed, linear.bias, in_features=linear.in_features, out_features=linear.out_features, dtype=dtype)
    take_over(made, linear)
    parent, _, last = name.rpartition(".")
    put(model.get_submodule(parent), last, made)


def _method_of(config: Any) -> Any:
    quantization = getattr(config, "quantization_config", None)
    if isinstance(quantization, dict):
        return quantization.get("quant_method")
    return getattr(quantization, "quant_method", None)


def tied_without(model: Any, layers: Collection[str]) -> dict[str, str]:
    """Which weights of a model are tied to which, without those of packed layers."""
    packed = {f"{name}{_DENSE}" for name in layers}
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {target: source for target, source in tied.items() if not packed & {target, source}}


def _packed_in(files: list[str]) -> tuple[list[tuple[str, str, int]], set[str]]:
    """The packed weights in safetensors files (file, name of the layer in it, bytes), and the names of all tensors."""
    from safetensors import safe_open

    found, names = [], set()
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                names.add(name)
                tensor = opened.get_slice(name)
                if name.endswith(_DENSE) and tensor.get_dtype() == "U8" and len(tensor.get_shape()) == 1:
                    found.append((file, name.removesuffix(_DENSE), int(tensor.get_shape()[0])))
    return found, names


def _make_room_for_experts(model: Any, files: list[str]) -> dict[str, str]:
    """Gives the modules whose experts are packed in safetensors files packed weights without values.

    Returns:
        Their names in the model by their names in the files.
    """
    from safetensors import safe_open

    shapes: dict[str, dict[str, list[int]]] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                module, _, last = name.rpartition(".")
                tensor = opened.get_slice(name) if last in _STACKS else None
                if tensor is not None and tensor.get_dtype() == "U8" and len(tensor.get_shape()) == 2:
                    shapes.setdefault(module, {})[_STACKS[last]] = tensor.get_shape()
    names = {}
    for name, of in shapes.items():
        own = own_name(model, name)
        if own is None and _lacks(model, name):
            continue
        try:
            if own is None:
                raise Unsupported("it has no place in the model")
            make_room(model.get_submodule(own), of)
        except (Unsupported, ValueError) as error:
            raise ValueError(f"the files have packed experts for {name}: {error}") from error
        names[name] = own
    return names


def _lacks(model: Any, name: str) -> bool:
    """Whether a layer is of a part that this model does not have, as a base model has no head."""
    if any(re.search(pattern, name) for pattern in model._keys_to_ignore_on_load_unexpected or ()):
        return True
    part = name.removeprefix(f"{model.base_model_prefix}.").partition(".")[0]
    return part == name.partition(".")[0] and not hasattr(model, part) and model.get_output_embeddings() is None


def own_name(model: Any, name: str) -> str | None:
    """A layer's name in this model: the file may be of the base model, or of one that contains this one."""
    prefix = f"{model.base_model_prefix}."
    for own in (name, prefix + name, name.removeprefix(prefix)):
        try:
            model.get_submodule(own)
        except AttributeError:
            continue
        return own
    return None
