# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts of vLLM with packed 4-bit weights, which ``zenwoq::experts`` runs.

vLLM chooses the experts and weighs them; with expert parallelism a process has some of them, and ids of the others are
skipped. As for linears, the tensors of the file are kept whole until all are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from vllm.config import get_current_vllm_config_or_none
from vllm.model_executor.layers.fused_moe import FusedMoEMethodBase
from vllm.model_executor.layers.fused_moe.activation import MoEActivation

import zenwoq.torch  # noqa: F401 - the operators
from zenwoq._structs import Activation
from zenwoq.torch._experts import Stack, check_pairs
from zenwoq.torch._given import Unsupported
from zenwoq.vllm._formats import PACKED, Format
from zenwoq.vllm._linear import cut
from zenwoq.vllm._report import Report
from zenwoq.vllm._tensors import kept, place_for, viewed
from zenwoq.vllm._warm import warm_experts

_HALVES = {"w13": ("w1", "w3"), "w2": ("w2",)}  # places in vLLM, and what is loaded into them
_NAMES = {"w1": "gate", "w3": "up", "w2": "down"}
_FILES = {"gate_up_proj": "w1", "up_packed": "w3", "down_proj": "w2"}  # stacks in files that zenwoq wrote
_FILE_BIASES = {"gate_bias": "gate", "up_bias": "up", "down_bias": "down"}
STACK = "stack_of_"  # before these, in vLLM
_ALPHA, _LIMIT = 1.702, 7.0  # of gpt-oss, which the C library has
_MXFP4_GROUP = 32  # codes with one scale
_ACTIVATIONS = {
    MoEActivation.SILU: Activation.SILU,
    MoEActivation.GELU: Activation.GELU,
    MoEActivation.GELU_TANH: Activation.GELU_TANH,
    MoEActivation.SWIGLUOAI: Activation.SWIGLU_OAI,
    MoEActivation.SWIGLUOAI_UNINTERLEAVE: Activation.SWIGLU_OAI,
}


def reason_against(layer: Any) -> str:
    """Why zenwoq cannot compute vLLM's experts; empty if it can."""
    activation = _ACTIVATIONS.get(layer.activation)
    if activation is None:
        return f"activation {layer.activation.value}"
    if layer.apply_router_weight_on_input:
        return "x is multiplied with the router's weights"
    given = (layer.swiglu_alpha, layer.swiglu_beta, layer.swiglu_limit)
    known = (_ALPHA, 1.0, _LIMIT) if activation is Activation.SWIGLU_OAI else (1.0, 0.0, None)
    for name, value, expected in zip(("alpha", "beta", "limit"), given, known, strict=True):
        if value is not None and value != expected:
            return f"swiglu_{name} {value}"
    return ""


class ExpertsMethod(FusedMoEMethodBase):  # type: ignore[misc]
    """What vLLM calls for experts whose weights zenwoq computes with.

    Args:
        format: of a weight in the checkpoint.
        prefix: the layer's name in the model.
        moe: vLLM's description of the experts.
        report: of the model.
        fused: whether tensors are of all of a process's experts, rows of gate and up taking turns, as gpt-oss has them.
    """

    def __init__(self, format: Format, prefix: str, moe: Any, report: Report, *, fused: bool = False):
        super().__init__(moe)
        self._format = format
        self._prefix = prefix
        self._report = report
        self._fused = fused

    def maybe_roundup_sizes(
        self, hidden_size: int, intermediate_size_per_partition: int, act_dtype: torch.dtype, moe_parallel_config: Any
    ) -> tuple[int, int]:
        """The sizes of the places in a process: gpt-oss is cut at groups, of which the last process may have fewer."""
        sizes = super().maybe_roundup_sizes(
            hidden_size, intermediate_size_per_partition, act_dtype, moe_parallel_config
        )
        return (sizes[0], -(-sizes[1] // _MXFP4_GROUP) * _MXFP4_GROUP) if self._fused else sizes

    def create_weights(
        self,
        layer: Any,
        num_experts: int,
        hidden_size: int,
        intermediate_size_per_partition: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs: Any,
    ) -> None:
        """Makes places for the tensors of the file. Sizes: of this process."""
        config = get_current_vllm_config_or_none()
        lora = None if config is None else config.lora_config
        if lora is not None and lora.target_modules is None:  # vLLM's managers of adapters would wrap it
            raise ValueError(
                f"{self._prefix}: adapters of LoRA are for linears only with zenwoq, and vLLM would make places for "
                f"them in experts, too: name the linears, as --lora-target-modules q_proj k_proj v_proj o_proj does"
            )
        self._experts = num_experts
        self._hidden, self._intermediate = hidden_size, intermediate_size_per_partition
        self._type = params_dtype
        self._report.plans(params_dtype)
        loaded: dict[tuple[int, str], dict[str, torch.Tensor]] = {}  # by expert of this process and weight
        self._loaded = loaded
        self._biases: dict[str, torch.Tensor] = {}

        def loader(
            param: Any, loaded_weight: torch.Tensor, weight_name: str, shard_id: Any, expert_id: Any,
            return_success: bool = False,
        ) -> bool | None:  # fmt: skip
            half, part = param.part
            if expert_id is None and not self._fused:
                raise ValueError(f"{self._prefix}: {weight_name} is of all experts, must be of one each")
            if expert_id is None:
                for expert, shard, tensor in self._unstacked(half, kept(loaded_weight)):
                    loaded.setdefault((expert, shard), {})[part] = tensor
                return True if return_success else None
            expert = layer._map_global_expert_id_to_local_expert_id(expert_id)
            if expert >= 0:
                loaded.setdefault((expert, shard_id), {})[part] = kept(loaded_weight)
            return expert >= 0 if return_success else None

        if self._format.name == PACKED:
            return self._make_places_of_stacks(layer)
        for half in _HALVES:
            for part in self._format.parts:
                kind = self._format.types.get(part, torch.uint8 if self._fused else torch.int32)
                layer.register_parameter(f"{half}_{part}", place_for(self._prefix, (half, part), kind, loader))
        if self.moe.has_bias:
            for half, n in (("w13", 2 * intermediate_size_per_partition), ("w2", hidden_size)):
                bias = torch.nn.Parameter(torch.zeros(num_experts, n, dtype=params_dtype), requires_grad=False)
                bias.weight_loader = extra_weight_attrs["weight_loader"]  # type: ignore[attr-defined]
                layer.register_parameter(f"{half}_bias", bias)
        return None

    def _unstacked(self, half: str, tensor: torch.Tensor) -> Iterator[tuple[int, str, torch.Tensor]]:
        """The tensors of each expert and weight from one ``[experts, rows, ...]`` of all."""
        shards = _HALVES[half]
        for expert in range(self._experts):
            for i, shard in enumerate(shards):
                yield expert, shard, tensor[expert, i :: len(shards)]

    def _make_places_of_stacks(self, layer: Any) -> None:
        """For the tensors of a folder that zenwoq wrote, whose experts are stacked.

        Most models of vLLM let the layer load what is below its name, gpt-oss looks for parameters.
        """

        def load_weights(weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[str]:
            for name, tensor in weights:
                self._take_stack(layer, name, tensor)
                yield name

        layer.load_weights = load_weights

        def loader(place: Any, tensor: torch.Tensor) -> None:
            self._take_stack(layer, place.part, tensor)

        for name in (*_FILES, *_FILE_BIASES):
            layer.register_parameter(f"{STACK}{name}", place_for(self._prefix, name, torch.uint8, loader))

    def _take_stack(self, layer: Any, name: str, tensor: torch.Tensor) -> None:
        """Takes a tensor of all experts."""
        if name in _FILE_BIASES:
            self._biases[_FILE_BIASES[name]] = kept(tensor)
        elif name not in _FILES:
            raise ValueError(f"{self._prefix}.{name}: no tensor of packed experts has this name")
        elif tensor.dtype != torch.uint8 or tensor.dim() != 2:
            raise ValueError(
                f"{self._prefix}.{name} is {tensor.dtype} {list(tensor.shape)}: these experts are not packed in the "
                f"checkpoint"
            )
        else:
            for expert_id, packed in enumerate(kept(tensor)):
                expert = layer._map_global_expert_id_to_local_expert_id(expert_id)
                if expert >= 0:
                    self._loaded.setdefault((expert, _FILES[name]), {})["weight"] = packed

    def process_weights_after_loading(self, layer: Any) -> None:
        """Packs what was loaded, and lets go of it."""
        loaded, self._loaded = self._loaded, {}
        if self._format.name == PACKED:
            places = [f"{STACK}{name}" for name in (*_FILES, *_FILE_BIASES)]
        else:
            places = [f"{half}_{part}" for half in _HALVES for part in self._format.parts]
        for place in places:
            delattr(layer, place)
        if self._fused and (0, "w1") in loaded:
            self._intermediate = len(loaded[0, "w1"]["weight"])
        try:
            stacks = {shard: Stack(self._experts) for shard in _NAMES}
            for expert in range(self._experts):
                for shard, stack in stacks.items():
                    parts = loaded.pop((expert, shard), None)
                    if parts is None:
                        raise ValueError(f"{_NAMES[shard]} of expert {expert} is not in the checkpoint")
                    stack.add(self._cut(layer, shard, parts))
            check_pairs(stacks["w1"].tensor, stacks["w3"].tensor)
        except (RuntimeError, TypeError, ValueError, Unsupported) as error:
            raise ValueError(f"{self._prefix}: {error}") from error
        for shard, stack in stacks.items():
            packed = torch.nn.Parameter(stack.tensor, requires_grad=False)
            layer.register_parameter(f"{_NAMES[shard]}_packed", packed)
        self._place_biases(layer)
        bias_types = tuple(None if bias is None else bias.dtype for bias in self._weights(layer)[3:6])
        key = (
            *(stack.text for stack in stacks.values()),
            self._hidden,
            self._intermediate,
            layer.activation,
            bias_types,
        )
        warm_experts(self._type, self._hidden, key, *self._weights(layer))
        self._report.packed(f"{self._format.name} layers of experts")

    def _cut(self, layer: Any, shard: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """This process's part of an expert's weight."""
        weight = self._format.pack(parts)
        config = self.moe.moe_parallel_config
        whole = self._intermediate * (1 if self._fused else config.tp_size)
        shape = (self._hidden, whole) if shard == "w2" else (whole, self._hidden)
        if (weight.n, weight.k) != shape:
            raise ValueError(
                f"{_NAMES[shard]} is {weight.n} x {weight.k} in the checkpoint, {shape[0]} x {shape[1]} in the model"
            )
        begin = 0 if self._fused else config.tp_rank * self._intermediate
        ours, all_hidden = slice(begin, begin + self._intermediate), slice(0, self._hidden)
        weight = cut(weight, *((all_hidden, ours) if shard == "w2" else (ours, all_hidden)))
        return viewed(weight)

    def _place_biases(self, layer: Any) -> None:
        config = self.moe.moe_parallel_config
        if self._format.name == PACKED:
            biases = self._biases_of_file(layer)
        elif self.moe.has_bias:
            both = layer.w13_bias.data[:, : 2 * self._intermediate]
            gate, up = (both[:, 0::2], both[:, 1::2]) if self._fused else both.chunk(2, 1)
            biases = {"gate": gate, "up": up, "down": layer.w2_bias.data}
            del layer.w13_bias, layer.w2_bias
        else:
            biases = {}
        if biases and config.tp_rank > 0 and not self._fused:
            biases["down"] = torch.zeros_like(biases["down"])  # each process adds it, and sums are added up
        for name in _NAMES.values():
            bias = biases.get(name)
            kept_bias = None if bias is None else torch.nn.Parameter(bias.contiguous(), requires_grad=False)
            layer.register_parameter(f"{name}_bias", kept_bias)

    def _biases_of_file(self, layer: Any) -> dict[str, torch.Tensor]:
        """This process's part of the biases of all experts."""
        begin = self.moe.moe_parallel_config.tp_rank * self._intermediate
        local = [layer._map_global_expert_id_to_local_expert_id(expert) for expert in range(layer.global_num_experts)]
        order = sorted((own, expert) for expert, own in enumerate(local) if own >= 0)
        ours = [expert for _, expert in order]
        parts = {"gate": slice(begin, begin + self._intermediate), "down": slice(0, self._hidden)}
        return {name: bias[ours, parts.get(name, parts["gate"])] for name, bias in self._biases.items()}

    def get_fused_moe_quant_config(self, layer: Any) -> None:
        """None: it is for vLLM's own kernels."""

    def apply(
        self,
        layer: Any,
        x: torch.Tensor,
        topk_weights: torch.Tensor,
        topk_ids: torch.Tensor,
        shared_experts: Any,
        shared_experts_input: torch.Tensor | None,
    ) -> torch.Tensor:
        """The weighted sums of this process's experts: ``[tokens, hidden]`` in x's dtype. vLLM adds shared experts."""
        if layer.expert_map is not None:
            local = layer.expert_map[topk_ids.long().clamp(min=0)]  # -1, which is skipped, of another process's
            topk_ids = torch.where(topk_ids >= 0, local, -1)
        return torch.ops.zenwoq.experts(x, topk_ids, topk_weights, *self._weights(layer))  # type: ignore[no-any-return]

    def _weights(self, layer: Any) -> tuple[Any, ...]:
        """What ``zenwoq::experts`` takes behind x, ids and router."""
        return (
            layer.gate_packed,
            layer.up_packed,
            layer.down_packed,
            layer.gate_bias,
            layer.up_bias,
            layer.down_bias,
            self._intermediate,
            _ACTIVATIONS[layer.activation].value,
        )
