# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models of transformers straight from 4-bit checkpoints.

The model is made as transformers makes any: without values, by the class that config.json names. Then its linears whose
weights the library of formats reads are replaced by packed ones; transformers loads the rest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

import zenwoq
from zenwoq._formats import Checkpoint, Layer
from zenwoq.torch._checkpoint_experts import ExpertsInFile, experts_in
from zenwoq.torch._experts import bytes_of
from zenwoq.torch._experts_shape import shape_of
from zenwoq.torch._fuse import fuse as fuse_blocks
from zenwoq.torch._given import Unsupported
from zenwoq.torch._progress import Bar, progress_bar
from zenwoq.torch._report import LayerReport, Report, listed
from zenwoq.torch._transformers import own_name, replace_linear, tied_without

_METHOD = "zenwoq-checkpoint"  # inside of this file only
_GPT_OSS = "mxfp4"  # the format of its experts
_MOST_NAMES = 10  # in a message


class _Loading:
    """What is loaded, and what became of it."""

    def __init__(self, checkpoint: Checkpoint, state: dict[str, torch.Tensor], progress: bool | None):
        self.checkpoint = checkpoint
        self.state = state
        self.progress = progress
        self.report = Report()
        self.names: list[str] = []  # of the packed layers in the model
        self.parameters: dict[str, torch.nn.Parameter] = {}  # of the model
        self.reasons: dict[str, str] = {}  # why experts of the file are not packed, by their layers' names

    def __deepcopy__(self, memo: object) -> _Loading:
        return self

    def fill(self, model: Any) -> None:
        """Puts packed linears into a model that has no values yet, and adds the values to the state."""
        start = time.perf_counter()
        self.parameters = dict(model.named_parameters())
        total = sum(layer.nbytes for layer in self.checkpoint.values())
        with progress_bar(total, self.progress) as bar:
            taken = self._put_experts(model, bar)
            for layer in self.checkpoint.values():
                if layer.name in taken:
                    continue
                own = own_name(model, layer.name)
                module = None if own is None else model.get_submodule(own)
                if own is not None and isinstance(module, torch.nn.Linear):
                    self._replace(model, own, module, layer)
                elif module is None or isinstance(module, torch.nn.Embedding):
                    self._unpack(model, layer)
                else:  # whose weight may be turned
                    raise ValueError(f"{layer.name} is a {type(module).__name__} in the model, not a linear")
                bar.update(layer.nbytes)
        self.report.seconds = time.perf_counter() - start

    def _put_experts(self, model: Any, bar: Bar) -> set[str]:
        """Puts packed experts into the model. Returns the names of the file's layers that they are made of."""
        taken: set[str] = set()
        for group in experts_in(model, self.checkpoint.values()):
            names = {layer.name for layer in group.layers}
            try:
                self.state.update(group.put_into(model))
            except Unsupported as reason:
                self.reasons.update(dict.fromkeys(names, str(reason)))
                continue
            self.report.layers.append(_report_of(model, group))
            taken |= names
            bar.update(sum(layer.nbytes for layer in group.layers))
        return taken

    def _replace(self, model: Any, own: str, linear: torch.nn.Linear, layer: Layer) -> None:
        shape = (linear.out_features, linear.in_features)
        if layer.shape != shape or layer.experts != 1:
            raise ValueError(f"{layer.name}: the file's weight is {layer!r}, the model's {shape[0]} x {shape[1]}")
        if layer.has_bias != (linear.bias is not None):
            which = "the file and not in the model" if layer.has_bias else "the model and not in the file"
            raise ValueError(f"{layer.name}: its bias is in {which}")
        is_mapped = layer.format.startswith("zwq ")
        memory = layer.mapped_bytes() if is_mapped else layer.packed(threads=torch.get_num_threads())
        packed = torch.frombuffer(memory, dtype=torch.uint8)
        replace_linear(model, own, torch.empty_like(packed, device="meta"), linear.weight.dtype)
        self.state[f"{layer.name}.packed"] = packed
        if layer.has_bias:
            self.state[f"{layer.name}.bias"] = torch.from_numpy(layer.bias())
        self.names.append(own)
        self.report.layers.append(
            LayerReport(own, shape, layer.format, layer.source_nbytes, layer.nbytes, True, layer.text)
        )

    def _unpack(self, model: Any, layer: Layer) -> None:
        """A weight that is no linear of the model, such as an expert's: transformers gets its values."""
        values = _values_of(layer).to(model.dtype)
        is_whole = layer.name in self.parameters  # the parameter itself, as experts are
        if is_whole and layer.format.removeprefix("zwq of ") == _GPT_OSS:
            values = values.transpose(-1, -2).contiguous()  # whose model has [experts, K, N]
        self.state[layer.name if is_whole else f"{layer.name}.weight"] = values
        if layer.has_bias:
            biases = [torch.from_numpy(layer.bias(expert)) for expert in range(layer.experts)]
            name = f"{layer.name}_bias" if f"{layer.name}_bias" in self.parameters else f"{layer.name}.bias"
            self.state[name] = torch.stack(biases) if layer.experts != 1 else biases[0]
        reason = f"unpacked: {self.reasons.get(layer.name, 'no linear of the model has its name')}"
        self.report.layers.append(
            LayerReport(layer.name, layer.shape, layer.format, layer.source_nbytes, values.nbytes, False, reason)
        )


def _report_of(model: Any, group: ExpertsInFile) -> LayerReport:
    layers = group.layers
    kinds = " and ".join(dict.fromkeys(layer.format for layer in layers))
    texts = ", ".join(dict.fromkeys(layer.text for layer in layers))
    module = model.get_submodule(group.name)
    shape = shape_of(module)
    result = f"{shape.experts} experts of {shape.hidden} x {shape.intermediate}: {texts}"
    before = sum(layer.source_nbytes for layer in layers)
    return LayerReport(group.name, None, kinds, before, bytes_of(module), True, result, stacked=True)


def _values_of(layer: Layer) -> torch.Tensor:
    """What a dense weight in the layer's place would be: with the factors of x."""
    experts = []
    for expert in range(layer.experts):
        weight = layer.weight(expert)
        values = torch.empty(layer.shape, dtype=torch.float32, device="cpu")  # while transformers loads, both differ
        weight.dequantize(out=values)
        experts.append(values if weight.x_scale is None else values * torch.from_numpy(weight.x_scale))
    return torch.stack(experts) if layer.experts != 1 else experts[0]


class _Config(QuantizationConfigMixin):
    """Tells transformers to load through :class:`_Quantizer`."""

    def __init__(self, loading: _Loading | None = None, **kwargs: Any):
        self.quant_method = _METHOD  # type: ignore[assignment]
        self.loading = loading

    def to_dict(self) -> dict[str, Any]:
        """As it could be printed."""
        return {"quant_method": _METHOD}


class _Quantizer(HfQuantizer):
    """Replaces linears before transformers loads the rest."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        loading = self.quantization_config.loading  # type: ignore[attr-defined]
        loading.fill(model)
        model.all_tied_weights_keys = tied_without(model, loading.names)
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        self.remove_quantization_config(model)  # type: ignore[no-untyped-call]
        return model

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        """As a model with packed layers."""
        return True

    @property
    def is_trainable(self) -> bool:
        """There are no gradients."""
        return False


def _register() -> None:
    if _METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(_METHOD)(_Config)
        register_quantizer(_METHOD)(_Quantizer)


def make_model(
    path: Path,
    *,
    dtype: torch.dtype,
    model_class: Any,
    progress: bool | None,
    fuse: bool,
    opaque_layout: str,
    **kwargs: Any,
) -> Any:
    """What :func:`zenwoq.torch.from_checkpoint` does."""
    _register()
    with zenwoq.load(path, opaque_layout=opaque_layout) as checkpoint:
        config = _config_of(path, checkpoint)
        if not len(checkpoint):
            raise ValueError(f"{path} has no 4-bit layer: load it with transformers")
        model_class = _class_of(config, model_class)
        _check_read(path, checkpoint, model_class)
        loading = _Loading(checkpoint, dict(_dense(checkpoint)), progress)
        model, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict=loading.state,
            quantization_config=_Config(loading),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are errors below
            **kwargs,
        )
    _check_filled(path, info)
    generation = (path if path.is_dir() else path.parent) / "generation_config.json"
    if model.can_generate() and generation.is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(
            generation.parent, local_files_only=True
        )
    model.config.name_or_path = str(path)
    if fuse:
        loading.report.blocks = fuse_blocks(model)
    model.zenwoq_report = loading.report
    return model


def _config_of(path: Path, checkpoint: Checkpoint) -> Any:
    """The config of transformers, without the quantization, which would ask for the format's own loader."""
    text = checkpoint.config
    if not isinstance(text, dict):
        raise ValueError(f"{path}: there is no config.json, which says what the model is (of a GGUF file's model: "
                         f"zenwoq.torch.keep_gguf_packed)")  # fmt: skip
    kind = str(text.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"{path}: config.json has model_type {kind}, which this transformers does not know")
    return CONFIG_MAPPING[kind].from_dict({key: value for key, value in text.items() if "quantization" not in key})


def _class_of(config: Any, model_class: Any) -> Any:
    if model_class is not None:
        return model_class
    names = getattr(config, "architectures", None) or []
    known = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
    if not known and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"config.json names no model of this transformers ({', '.join(names)}): give model_class")
    return known[0] if known else MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _check_read(path: Path, checkpoint: Checkpoint, model_class: Any) -> None:
    """Raises ValueError for a weight that is not read, unless the model's class ignores it (masks, positions).

    Numbers and rows of other types, which a model may not need, are missed later if it does.
    """
    ignored = getattr(model_class, "_keys_to_ignore_on_load_unexpected", None) or ()
    refused = [
        f"{left.name} ({left.reason})"
        for left in checkpoint.left_alone
        if not left.is_dense
        and not (left.type and (len(left.shape) < 2 or any(re.search(pattern, left.name) for pattern in ignored)))
    ]
    if refused:
        raise ValueError(f"{path}: not read: {listed(refused, _MOST_NAMES)}")


def _dense(checkpoint: Checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of plain numbers."""
    for left in checkpoint.left_alone:
        if left.is_dense:
            values = torch.empty(left.shape, dtype=getattr(torch, checkpoint.tensor_dtype(left.name)))
            yield left.name, checkpoint.tensor(left.name, out=values)


def _check_filled(path: Path, info: Any) -> None:
    problems = []
    for key, text in (
        ("missing_keys", "no tensor in the files for"),
        ("mismatched_keys", "another shape in the files for"),
        ("unexpected_keys", "no place in the model for"),
    ):
        names = sorted(str(name) for name in info[key])
        if names:
            problems.append(f"{text} {listed(names, _MOST_NAMES)}")
    if problems:
        raise ValueError(f"{path} does not fill the model of its config: {'; '.join(problems)}")
