# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models of transformers straight from 4-bit checkpoints.

The model is made as transformers makes any: without values, by the class that config.json names. Then its linears whose
weights the library of formats reads are replaced by packed ones; transformers loads the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

import zenwoq
from zenwoq._formats import Checkpoint, Layer
from zenwoq.torch._progress import progress_bar
from zenwoq.torch._report import LayerReport, Report
from zenwoq.torch._transformers import own_name, replace_linear, tied_without

_METHOD = "zenwoq-checkpoint"  # inside of this file only
_MOST_NAMES = 10  # in a message


class _Loading:
    """What is loaded, and what became of it."""

    def __init__(self, checkpoint: Checkpoint, state: dict[str, torch.Tensor], progress: bool | None):
        self.checkpoint = checkpoint
        self.state = state
        self.progress = progress
        self.report = Report()
        self.names: list[str] = []  # of the packed layers in the model

    def __deepcopy__(self, memo: object) -> _Loading:
        return self

    def fill(self, model: Any) -> None:
        """Puts packed linears into a model that has no values yet, and adds the values to the state."""
        start = time.perf_counter()
        total = sum(layer.nbytes for layer in self.checkpoint.values())
        with progress_bar(total, self.progress) as bar:
            for layer in self.checkpoint.values():
                own = own_name(model, layer.name)
                linear = None if own is None else model.get_submodule(own)
                if own is not None and isinstance(linear, torch.nn.Linear):
                    self._replace(model, own, linear, layer)
                else:
                    self._unpack(model, layer)
                bar.update(layer.nbytes)
        self.report.seconds = time.perf_counter() - start

    def _replace(self, model: Any, own: str, linear: torch.nn.Linear, layer: Layer) -> None:
        shape = (linear.out_features, linear.in_features)
        if layer.shape != shape or layer.experts != 1:
            raise ValueError(f"{layer.name}: the file's weight is {layer!r}, the model's {shape[0]} x {shape[1]}")
        if layer.has_bias != (linear.bias is not None):
            which = "the file and not in the model" if layer.has_bias else "the model and not in the file"
            raise ValueError(f"{layer.name}: its bias is in {which}")
        packed = torch.frombuffer(layer.packed(threads=torch.get_num_threads()), dtype=torch.uint8)
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
        values = torch.from_numpy(layer.dequantize()).to(model.dtype)
        parameters = dict(model.named_parameters())
        if layer.name in parameters and parameters[layer.name].shape != values.shape:
            values = values.transpose(-1, -2)  # of experts: some models keep [K, N]
        self.state[layer.name if layer.name in parameters else f"{layer.name}.weight"] = values
        if layer.has_bias:
            biases = [torch.from_numpy(layer.bias(expert)) for expert in range(layer.experts)]
            name = f"{layer.name}_bias" if f"{layer.name}_bias" in parameters else f"{layer.name}.bias"
            self.state[name] = torch.stack(biases) if layer.experts != 1 else biases[0]
        reason = "unpacked: no linear of the model has its name"
        self.report.layers.append(
            LayerReport(layer.name, layer.shape, layer.format, layer.source_nbytes, values.nbytes, False, reason)
        )


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
    folder: Path,
    *,
    dtype: torch.dtype,
    model_class: Any,
    progress: bool | None,
    opaque_layout: str,
    **kwargs: Any,
) -> Any:
    """What :func:`zenwoq.torch.from_checkpoint` does."""
    _register()
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with zenwoq.load(folder, opaque_layout=opaque_layout) as checkpoint, ExitStack() as files:
        if not len(checkpoint):
            raise ValueError(f"{folder} has no 4-bit layer: load it with transformers")
        loading = _Loading(checkpoint, dict(_dense(checkpoint, folder, files)), progress)
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # which would ask for the format's own loader
        model, info = _class_of(config, model_class).from_pretrained(
            None,
            config=config,
            state_dict=loading.state,
            quantization_config=_Config(loading),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are errors below
            **kwargs,
        )
    _check_filled(folder, info)
    if model.can_generate() and (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    model.config.name_or_path = str(folder)
    model.zenwoq_report = loading.report
    return model


def _class_of(config: Any, model_class: Any) -> Any:
    if model_class is not None:
        return model_class
    names = getattr(config, "architectures", None) or []
    known = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
    if not known and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"config.json names no model of this transformers ({', '.join(names)}): give model_class")
    return known[0] if known else MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _dense(checkpoint: Checkpoint, folder: Path, files: ExitStack) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that are no part of a quantized weight, mapped. Raises ValueError for a weight that is not read."""
    from safetensors import safe_open

    opened = [files.enter_context(safe_open(file, framework="pt")) for file in sorted(folder.glob("*.safetensors"))]
    owners = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
    refused = []
    for left in checkpoint.left_alone:
        owner = owners.get(left.name)
        plain = owner is not None and (left.is_dense or len(owner.get_slice(left.name).get_shape()) < 2)
        if owner is not None and plain:
            yield left.name, owner.get_tensor(left.name)
        else:
            refused.append(f"{left.name} ({left.reason})")
    if refused:
        raise ValueError(f"{folder}: not read: {_listed(refused)}")


def _check_filled(folder: Path, info: Any) -> None:
    problems = []
    for key, text in (
        ("missing_keys", "no tensor in the files for"),
        ("mismatched_keys", "another shape in the files for"),
        ("unexpected_keys", "no place in the model for"),
    ):
        names = sorted(str(name) for name in info[key])
        if names:
            problems.append(f"{text} {_listed(names)}")
    if problems:
        raise ValueError(f"{folder} does not fill the model of its config: {'; '.join(problems)}")


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
