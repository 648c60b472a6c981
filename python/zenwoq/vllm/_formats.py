# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the weights of a layer are in a checkpoint: the tensors' names, and what packs them.

A weight is read by the library of formats, which reads files, from the tensors that vLLM hands over: there is one
reader of each format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from zenwoq import Weight
from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._given import NAME, Given, sentence
from zenwoq.torch._torchao import given_of_intx

PACKED = "zenwoq"  # the format of folders that zenwoq wrote
Parts = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Format:
    """How a checkpoint keeps a weight.

    Attributes:
        name: as the log has it.
        parts: the ends of the names of a weight's tensors; not every weight has all of them.
        given: what a weight consists of, made of its tensors; None of packed ones.
        types: of tensors in the file, by the ends of their names, as far as they are known.
    """

    name: str
    parts: tuple[str, ...]
    given: Callable[[Parts], Given] | None = None
    types: Mapping[str, torch.dtype] = field(default_factory=dict)

    def pack(self, parts: Parts) -> Weight:
        """The packed weight of a weight's tensors, in memory of its own. Raises ValueError if they are none."""
        if self.given is None:
            weight = parts["weight"]
            return Weight.from_packed(weight if weight.data_ptr() % PACKED_ALIGNMENT == 0 else weight.clone())
        checkpoint = self.given(parts).open()
        layer = checkpoint.get(NAME)
        if layer is None:
            raise ValueError(checkpoint.left_alone[0].reason if checkpoint.left_alone else "it has no weight")
        try:
            return Weight.from_packed(layer.packed(threads=torch.get_num_threads()))
        except ValueError as error:
            raise ValueError(sentence(error)) from error


def packed() -> Format:
    """Of folders that zenwoq wrote: a packed weight has the name of the dense one."""
    return Format(PACKED, ("weight",), types={"weight": torch.uint8})


def compressed_tensors(weights: Mapping[str, Any]) -> Format:
    """Codes packed in int32. `weights` are the arguments of a config group."""
    parts = tuple(f"weight_{name}" for name in ("packed", "scale", "shape", "zero_point", "g_idx"))
    return Format("compressed-tensors", parts, _of_group("pack-quantized", weights))


def mxfp4() -> Format:
    """Of gpt-oss: codes of E2M1 in uint8, two a byte, scales of E8M0 in uint8, 32 codes each."""
    weights = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32}
    given = _of_group("mxfp4-pack-quantized", weights)
    parts = ("weight", "weight_scale")
    return Format("mxfp4", parts, lambda own: given({"weight_packed": own[parts[0]], parts[1]: own[parts[1]]}))


def gptq(group_size: int, *, symmetric: bool, act_order: bool, second: bool) -> Format:
    """GPTQ's; `second` is the second version, whose zero points are not one less."""
    config = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": group_size,
        "sym": symmetric,
        "desc_act": act_order,
        "checkpoint_format": "gptq_v2" if second else "gptq",
    }
    return Format("gptq", ("qweight", "qzeros", "scales", "g_idx"), lambda own: Given(own, config))


def awq(group_size: int) -> Format:
    """AWQ's, in the order of its gemm kernels."""
    config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "version": "gemm", "zero_point": True}
    return Format("awq", ("qweight", "qzeros", "scales"), lambda own: Given(own, config))


def torchao_intx() -> Format:
    """TorchAO's Intx in safetensors files: a code of int4 in each int8."""
    parts = ("_weight_qdata", "_weight_scale", "_weight_zero_point", "weight")  # the last is dense

    def given(own: Parts) -> Given:
        codes, scale = own[parts[0]], own[parts[1]]
        block = (1, codes.shape[1] // (scale.numel() // codes.shape[0]))
        return given_of_intx(codes, scale, own.get(parts[2]), block, "int4")

    return Format("torchao", parts, given, {parts[0]: torch.int8, parts[2]: torch.int8})


def _of_group(form: str, weights: Mapping[str, Any]) -> Callable[[Parts], Given]:
    config = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": dict(weights)}},
    }
    return lambda own: Given(own, config)
