# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM's quantizations, each with zenwoq's layers where these compute the same: what vLLM calls for each layer.

Which layers a checkpoint quantizes, and how, is decided by vLLM's own classes. Of what they decide, weights of 4 bits
with activations that are not quantized are taken; the rest stays as vLLM has it, with a reason for the log.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from vllm.model_executor.layers.fused_moe import RoutedExperts, UnquantizedFusedMoEMethod
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    LinearBase,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
    UnquantizedLinearMethod,
)
from vllm.model_executor.layers.quantization.auto_awq import AutoAWQConfig, AutoAWQMarlinLinearMethod
from vllm.model_executor.layers.quantization.auto_gptq import AutoGPTQConfig
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import (
    CompressedTensorsConfig,
)
from vllm.model_executor.layers.quantization.inc.inc import INCConfig
from vllm.model_executor.layers.quantization.mxfp4 import GptOssMxfp4Config
from vllm.model_executor.layers.quantization.torchao import TorchAOConfig
from vllm.model_executor.layers.quantization.utils.gptq_utils import get_linear_quant_method, override_config
from vllm.model_executor.layers.quantization.utils.quant_utils import is_layer_skipped
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.models.utils import WeightsMapper
from vllm.scalar_type import scalar_types
from vllm.transformers_utils.config import get_safetensors_params_metadata

from zenwoq.torch._transformers import VERSION
from zenwoq.vllm import _formats
from zenwoq.vllm._experts import STACK, ExpertsMethod, reason_against
from zenwoq.vllm._formats import Format
from zenwoq.vllm._kernel import INT8, asks_for_int8, left_for
from zenwoq.vllm._linear import LinearMethod
from zenwoq.vllm._report import DENSE, Report

_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_NAMES_IN_VLLM: dict[Any, dict[re.Pattern[str], str]] = {
    "mixtral": {re.compile(r"\.mlp\."): ".block_sparse_moe."},
    "gpt_oss": {re.compile(r"\.experts\.(\w+)$"): rf".experts.routed_experts.{STACK}\1"},
}
# Those that zenwoq's stand for. A class with another one, as for shards that all processes have, is left to vLLM.
_LOADERS = {
    kind.weight_loader
    for kind in (
        ColumnParallelLinear,
        MergedColumnParallelLinear,
        ParallelLMHead,
        QKVParallelLinear,
        ReplicatedLinear,
        RowParallelLinear,
    )
}
_FLOATS = (torch.bfloat16, torch.float16, torch.float32)


class _Taking:
    """What the classes below have in common: which layers are taken, and the report.

    A class says what format a layer's weight has: None of one that is vLLM's.

    Attributes:
        packed_names: of tensors that are packed weights of zenwoq, in the files.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._report = Report()
        self._types: dict[str, torch.dtype] = {}
        self.packed_names: set[str] = set()
        self._names: dict[re.Pattern[str], str] = {}  # of tensors, in the files, and in vLLM instead

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy with the same report: vLLM copies configs to change them for a layer."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """All that the operators take; other than bfloat16 are rounded to it."""
        return list(_FLOATS)

    def maybe_update_config(self, model_name: str, hf_config: Any = None, revision: str | None = None) -> None:
        """Looks which types scales have in the files, so that vLLM does not warn of them."""
        super().maybe_update_config(model_name, hf_config=hf_config, revision=revision)  # type: ignore[misc]
        for name, info in get_safetensors_params_metadata(model_name, revision=revision).items():
            part = name.rpartition(".")[2]
            if "scale" in part and info.get("dtype") in _TYPES:
                self._types[part] = _TYPES[info["dtype"]]
            if info.get("dtype") == "U8" and len(info.get("shape", ())) == 1:
                self.packed_names.add(name)

    def get_quant_method(self, layer: Any, prefix: str) -> Any:
        """What computes a layer: zenwoq, or what vLLM would have chosen."""
        is_experts = isinstance(layer, RoutedExperts)
        if not is_experts and not isinstance(layer, (LinearBase, ParallelLMHead)):
            return super().get_quant_method(layer, prefix)  # type: ignore[misc]
        try:
            found = self.format_of(layer, prefix)
        except Exception as error:  # another vLLM, or a config that is wrong, of which vLLM says so below
            found = f"{type(error).__name__}: {error}"
        reason = found if isinstance(found, str) else ""
        if isinstance(found, Format) and asks_for_int8():
            reason = INT8
        elif isinstance(found, Format) and is_experts:
            reason = reason_against(layer)
        elif isinstance(found, Format) and type(layer).weight_loader not in _LOADERS:
            reason = f"{type(layer).__name__} loads its weights in a way of its own"
        if not isinstance(found, Format) or reason:
            method = super().get_quant_method(layer, prefix)  # type: ignore[misc]
            is_dense = isinstance(method, (UnquantizedLinearMethod, UnquantizedFusedMoEMethod)) or method is None
            if not is_dense:
                self.check_left(prefix, reason)
            if not is_dense and reason:
                method.create_weights = _apart(method.create_weights, reason)
            self._report.leaves(prefix, reason or (DENSE if is_dense else "not weights of 4 bits"))
            return method
        found = replace(found, types={**self._types, **found.types})
        if is_experts:
            return ExpertsMethod(found, prefix, layer.moe_config, self._report, fused=found.name == "mxfp4")
        return LinearMethod(found, prefix, self._report)

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """The format of a layer's weight, or the reason why it is not taken; None if vLLM's class says it all."""
        raise NotImplementedError

    def check_left(self, prefix: str, reason: str) -> None:
        """Raises ValueError if vLLM would compute a quantized layer that is left to it wrongly."""


def _apart(create_weights: Callable[..., Any], reason: str) -> Callable[..., Any]:
    """The function, which chooses no kernel of zenwoq's."""

    @functools.wraps(create_weights)
    def create(*args: Any, **kwargs: Any) -> Any:
        with left_for(reason):
            return create_weights(*args, **kwargs)

    return create


class CompressedTensors(_Taking, CompressedTensorsConfig):  # type: ignore[misc]
    """compressed-tensors: ``pack-quantized`` weights of 4-bit integers."""

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        if isinstance(layer, RoutedExperts):
            self._add_fused_moe_to_target_scheme_map()
            names = (layer.ckpt_gate_proj_name, layer.ckpt_up_proj_name, layer.ckpt_down_proj_name)
            schemes = [self.get_scheme_dict(layer, f"{prefix}.0.{name}") for name in names]
            if any(scheme != schemes[0] for scheme in schemes):
                return "its weights have several quantizations"
            return self._format(schemes[0])
        try:
            return self._format(self.get_scheme_dict(layer, layer_name=prefix))
        except ValueError:  # what vLLM knows of a head
            return None

    def _format(self, scheme: Any) -> Format | str | None:
        weights = None if scheme is None else scheme.get("weights")
        if weights is None or weights.num_bits != 4:
            return None
        for name in ("input_activations", "output_activations"):
            if scheme.get(name) is not None:
                return f"its activations are quantized too ({name})"
        kind = getattr(weights.type, "value", weights.type)
        if kind != "int" or scheme.get("format") not in ("pack-quantized", None):
            return f"{scheme.get('format')} of {kind}"
        if self.transform_config is not None and self.transform_config.config_groups:
            return "its activations are transformed"
        return _formats.compressed_tensors(weights.model_dump(mode="json"))


class Gptq(_Taking, AutoGPTQConfig):  # type: ignore[misc]
    """GPTQ of both versions, with zero points and act-order, which vLLM's class refuses."""

    TYPE_MAP: ClassVar[Any] = {**AutoGPTQConfig.TYPE_MAP, (4, False): scalar_types.uint4}

    def __init__(self, weight_bits: int, group_size: int, desc_act: bool, *args: Any, **kwargs: Any):
        if asks_for_int8():  # all is vLLM's, which says what it refuses
            self.TYPE_MAP = AutoGPTQConfig.TYPE_MAP  # type: ignore[misc]
            super().__init__(weight_bits, group_size, desc_act, *args, **kwargs)
            return
        super().__init__(weight_bits, group_size, False, *args, **kwargs)  # vLLM's refuses it
        self.desc_act = bool(desc_act) and group_size != -1

    def get_checkpoint_weight_mapper(self) -> WeightsMapper:
        """vLLM's drops g_idx, the act-order, for which its own layers have no place."""
        return WeightsMapper() if self._report.has_plans() else super().get_checkpoint_weight_mapper()

    def check_left(self, prefix: str, reason: str) -> None:
        """See _Taking. vLLM's class refuses both, this one took the model."""
        if self.desc_act or not self.is_sym:
            what = "act-order" if self.desc_act else "zero points"
            raise ValueError(f"{prefix}: GPTQ with {what} is not for vLLM itself, and not for zenwoq: {reason}")

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        if not isinstance(layer, RoutedExperts):
            found = get_linear_quant_method(self, layer, prefix, lambda config: config)
            return self._format(found) if isinstance(found, AutoGPTQConfig) else None
        config = self.__deepcopy__({})
        override_config(config, prefix)
        return "act-order" if config.desc_act else self._format(config)

    def _format(self, config: Any) -> Format | str | None:
        if config.weight_bits != 4:
            return None
        second = str(config.full_config.get("checkpoint_format", "")).lower() == "gptq_v2"
        return _formats.gptq(config.group_size, symmetric=config.is_sym, act_order=config.desc_act, second=second)


class Awq(_Taking, AutoAWQConfig):  # type: ignore[misc]
    """AWQ."""

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        if isinstance(layer, RoutedExperts):
            skipped = is_layer_skipped(prefix, self.modules_to_not_convert, match_mode="substring")
            return None if skipped else _formats.awq(self.group_size)
        method = AutoAWQConfig.get_quant_method(self, layer, prefix)
        return _formats.awq(self.group_size) if isinstance(method, AutoAWQMarlinLinearMethod) else None


class AutoRound(_Taking, INCConfig):  # type: ignore[misc]
    """AutoRound, which writes GPTQ's or AWQ's tensors."""

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        if self._is_excluded(prefix):
            return None
        config = self.config_parser.resolve(layer, prefix)
        if config.bits != 4 or not config.is_wna16_int:
            return None
        if config.is_awq:
            return _formats.awq(config.group_size)
        return _formats.gptq(config.group_size, symmetric=config.sym, act_order=False, second=False)

    def _is_excluded(self, prefix: str) -> bool:
        """Whether extra_config says that a layer is not quantized, as INCConfig.get_quant_method looks for it."""
        rules = [(self.extra_config or {}).get(name) for name in (prefix, f"model.{prefix}")]
        return any(rule is not None and rule.get("bits", 16) >= 16 for rule in rules)


class GptOss(_Taking, GptOssMxfp4Config):  # type: ignore[misc]
    """gpt-oss, whose experts are MXFP4."""

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        return _formats.mxfp4() if isinstance(layer, RoutedExperts) else None


class _Own(QuantizationConfig):  # type: ignore[misc]
    """What the quantizations have in common for which vLLM has no class, or none for CPUs."""

    @classmethod
    def get_min_capability(cls) -> int:
        """Of GPUs."""
        return -1

    @staticmethod
    def get_config_filenames() -> list[str]:
        """None: it is in config.json."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The quantization of a config.json."""
        return cls()

    def get_quant_method(self, layer: Any, prefix: str) -> Any:
        """What vLLM does with a layer that no quantization is for."""
        return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else None


class Packed(_Taking, _Own):
    """Folders that zenwoq wrote. Which layers are packed is in the files."""

    @classmethod
    def get_name(cls) -> str:
        """The quantization's."""
        return _formats.PACKED

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Checks the version. Raises ValueError for another one."""
        version = config.get("version", VERSION)
        if version != VERSION:
            raise ValueError(f"the model's packed weights have version {version}, this zenwoq reads {VERSION}")
        return cls()

    def maybe_update_config(self, model_name: str, hf_config: Any = None, revision: str | None = None) -> None:
        """See _Taking."""
        super().maybe_update_config(model_name, hf_config=hf_config, revision=revision)
        self._names = _NAMES_IN_VLLM.get(getattr(hf_config, "model_type", None), {})

    def get_checkpoint_weight_mapper(self) -> WeightsMapper:
        """From names in transformers' models, which the files have, to those that vLLM knows."""
        return WeightsMapper(orig_to_new_regex=self._names)

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking. A linear may be dense in the files; a head, of which vLLM makes more, must not be then."""
        is_packed = f"{prefix}.weight" in self.packed_names
        if isinstance(layer, ParallelLMHead) and not is_packed:
            return None
        return _formats.packed() if is_packed else replace(_formats.packed(), types={})


class Intx(_Taking, _Own):
    """TorchAO's IntxWeightOnlyConfig with int4, in safetensors files."""

    @classmethod
    def get_name(cls) -> str:
        """The quantization's."""
        return "torchao"

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Intx of 4 bits; of any other quantization of TorchAO's, vLLM's own class."""
        rule = config.get("quant_type", {}).get("default", {})
        data = rule.get("_data", {})
        if rule.get("_type") == "IntxWeightOnlyConfig" and data.get("weight_dtype", {}).get("_data") == "int4":
            return cls()
        return TorchAOConfig.from_config(config)

    def format_of(self, layer: Any, prefix: str) -> Format | str | None:
        """See _Taking."""
        return None if isinstance(layer, ParallelLMHead | RoutedExperts) else _formats.torchao_intx()


CONFIGS: dict[str, type[QuantizationConfig]] = {
    "compressed-tensors": CompressedTensors,
    "gptq": Gptq,
    "gptq_marlin": Gptq,
    "auto_gptq": Gptq,
    "awq": Awq,
    "awq_marlin": Awq,
    "auto_awq": Awq,
    "inc": AutoRound,
    "gpt_oss_mxfp4": GptOss,
    "torchao": Intx,
    "zenwoq": Packed,
}
