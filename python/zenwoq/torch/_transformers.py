# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The quantization "zenwoq" of transformers: what save_pretrained writes and from_pretrained reads of packed layers.

config.json has ``"quantization_config": {"quant_method": "zenwoq", "version": 1}``. The safetensors files have the
model's own names; the packed weight of a linear is a uint8 tensor ``[bytes]`` with the name of the dense weight. So
which layers are packed is in the files, and a transformers that does not know this quantization (it would only warn
and leave the layers as they were initialized) refuses them: a weight must have two dimensions.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers.core_model_loading import WeightRenaming
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from zenwoq.torch._checkpoint import packed_layers, saved_state
from zenwoq.torch._module import Linear
from zenwoq.torch._optimize import put, restore, take_over

METHOD = "zenwoq"
VERSION = 1
_DENSE, _PACKED = ".weight", ".packed"


class ZenwoqConfig(QuantizationConfigMixin):
    """The ``quantization_config`` of a model with packed layers.

    Args:
        version: of what the files hold.
        quant_method: ``"zenwoq"``.

    Raises:
        ValueError: the version is not one that this zenwoq reads.
    """

    def __init__(self, version: int = VERSION, quant_method: str = METHOD):
        if version != VERSION:
            raise ValueError(f"the model's packed weights have version {version}, this zenwoq reads {VERSION}")
        self.quant_method = quant_method  # type: ignore[assignment]
        self.version = version


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
        for file, name, size in _packed_in(checkpoint_files or []):
            own = _own_name(model, name)
            if own is None:
                continue  # of a part that this model does not have, as a base model has no head
            linear = model.get_submodule(own)
            if not isinstance(linear, torch.nn.Linear | Linear):
                raise ValueError(f"{file} has a packed weight for {own}, which is a {type(linear).__name__}")
            made = Linear(
                torch.empty(size, dtype=torch.uint8, device="meta"),
                linear.bias,
                in_features=linear.in_features,
                out_features=linear.out_features,
                dtype=linear.weight.dtype,
            )
            take_over(made, linear)
            parent, _, last = own.rpartition(".")
            put(model.get_submodule(parent), last, made)
            self.packed_names[name] = own
        if not self.packed_names:
            raise ValueError(f"{(checkpoint_files or ['the checkpoint'])[0]} has no packed weight of zenwoq")
        _untie(model, self.packed_names.values())
        return model

    def update_weight_conversions(self, weight_conversions: list[Any], model: Any) -> list[Any]:
        """No conversions but our own: the files have the model's own names, and packed weights cannot be cut."""
        names = "|".join(re.escape(name) for name in self.packed_names)
        return [WeightRenaming(rf"^({names}){re.escape(_DENSE)}$", rf"\1{_PACKED}")]

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        for own in self.packed_names.values():
            layer = model.get_submodule(own)
            if problem := layer.problem_of(layer.packed):
                raise ValueError(f"{own}{_DENSE}: {problem}")
        attach(model)
        return model

    def get_state_dict_and_metadata(self, model: Any) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """What save_pretrained writes. Raises ValueError naming what it cannot hold."""
        tensors, extra = saved_state(model)
        if extra:
            raise ValueError(f"{next(iter(extra))} is no tensor: only zenwoq.torch.save keeps it")
        state = {}
        seen: set[int] = set()
        packed = {f"{name}{_PACKED}" for name in packed_layers(model)}
        for name, tensor in tensors.items():
            if name not in packed:
                state[name] = tensor
                continue
            # transformers does not know that linears share a packed weight, so each gets one of its own.
            shared = tensor.data_ptr() in seen
            seen.add(tensor.data_ptr())
            state[name.removesuffix(_PACKED) + _DENSE] = tensor.clone() if shared else tensor
        return state, {}

    def _dequantize(self, model: Any, dtype: Any = None) -> Any:
        if isinstance(dtype, str):  # as it is in the config of a model that was saved
            dtype = getattr(torch, dtype)
        return restore(model, dtype=dtype or torch.bfloat16)

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
    """Makes transformers know the quantization, once."""
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(METHOD)(ZenwoqConfig)
        register_quantizer(METHOD)(ZenwoqQuantizer)


def attach(model: Any) -> None:
    """Makes a model with packed layers save itself as such."""
    if not isinstance(getattr(model, "hf_quantizer", None), ZenwoqQuantizer):
        model.hf_quantizer = ZenwoqQuantizer(ZenwoqConfig(), pre_quantized=True)
    model.config.quantization_config = model.hf_quantizer.quantization_config
    model.quantization_method = METHOD
    model._weight_conversions = []  # packed weights can be neither cut nor joined, so files have the model's own names
    _untie(model, packed_layers(model))


def detach(model: Any) -> None:
    """Makes a model whose layers are dense again save itself as before."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    if isinstance(quantizer, ZenwoqQuantizer):
        quantizer.remove_quantization_config(model)  # type: ignore[no-untyped-call]


def _untie(model: Any, layers: Any) -> None:
    """Forgets that the weights of packed layers were tied to others."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    for name in layers:
        for target, source in list(tied.items()):
            if f"{name}{_DENSE}" in (target, source):
                del tied[target]


def _packed_in(files: list[str]) -> list[tuple[str, str, int]]:
    """The packed weights in safetensors files: file, name of the layer in it, bytes."""
    from safetensors import safe_open

    found = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                tensor = opened.get_slice(name)
                if name.endswith(_DENSE) and tensor.get_dtype() == "U8" and len(tensor.get_shape()) == 1:
                    found.append((file, name.removesuffix(_DENSE), int(tensor.get_shape()[0])))
    return found


def _own_name(model: Any, name: str) -> str | None:
    """A layer's name in this model: the file may be of the base model, or of one that contains this one."""
    prefix = f"{model.base_model_prefix}."
    for own in (name, prefix + name, name.removeprefix(prefix)):
        try:
            model.get_submodule(own)
        except AttributeError:
            continue
        return own
    return None
