# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The experts of a 4-bit checkpoint as packed experts of a model that has no values yet.

Checkpoints have a linear for each of an expert's weights (``experts.3.w1``), which transformers would join into the
stacked parameters of its modules; which goes where is in its own table of conversions. gpt-oss has stacks, or from
quantizers that know linears only, ``experts.3.gate_proj`` and so on, which transformers itself does not load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    rename_source_key,
)

from zenwoq import Weight
from zenwoq._formats import Layer
from zenwoq.torch._experts import PACKED, Stack, check_pairs, install
from zenwoq.torch._experts_shape import WEIGHTS, Shape, experts_of, shape_of
from zenwoq.torch._given import Given, Unsupported
from zenwoq.torch._transformers import own_name

_GATE_UP, _DOWN = WEIGHTS
_LINEAR = re.compile(r"(.+)\.(\d+)\.([^.]+)")  # of an expert: the module, its number, its name
_PARTS = {"gate_proj": "gate", "up_proj": "up", _DOWN: "down"}


@dataclass
class ExpertsInFile:
    """The layers of a checkpoint that make a module of experts.

    Attributes:
        name: the module's in the model.
        parts: the weights of ``"gate"``, ``"up"`` and ``"down"`` by the expert's number; a stack of all experts has the
            number -1, and ``"both"`` is one of gate and up.
        reason: why the module must not be packed; empty if nothing is known against it.
    """

    name: str
    reason: str = ""
    parts: dict[str, dict[int, Layer]] = field(default_factory=dict)

    @property
    def layers(self) -> list[Layer]:
        """All of them."""
        return [layer for part in self.parts.values() for layer in part.values()]

    def put_into(self, model: Any) -> dict[str, torch.Tensor]:
        """Gives the module in a model without values packed experts without values, and returns the values.

        Returns:
            The tensors of the module, by their names in the model.

        Raises:
            Unsupported: they are not understood; the model is as it was.
            ValueError: the file is damaged.
        """
        if self.reason:
            raise Unsupported(self.reason)
        module = model.get_submodule(self.name)
        shape = shape_of(module)
        has_bias = {layer.has_bias for layer in self.layers}
        if has_bias != {shape.has_bias}:
            raise Unsupported("the model's experts have biases" if shape.has_bias else "the file's experts have biases")
        packed = self._stacks(shape)
        check_pairs(packed["gate_packed"], packed["up_packed"])
        biases = self._biases(shape) if shape.has_bias else {}
        empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in {**packed, **biases}.items()}
        install(module, shape, {name: empty[name] for name in PACKED}, {name: empty[name] for name in biases})
        return {f"{self.name}.{name}": tensor for name, tensor in {**packed, **biases}.items()}

    def _stacks(self, shape: Shape) -> dict[str, torch.Tensor]:
        stacks = {part: Stack(shape.experts) for part in ("gate", "up", "down")}
        if "both" in self.parts:
            layer = self._stack("both", (2 * shape.intermediate, shape.hidden), shape)
            for expert in range(shape.experts):
                for part, packed in zip(("gate", "up"), _halves(_packed(layer, expert), shape), strict=True):
                    stacks[part].add(packed)
        else:
            for part in ("gate", "up"):
                self._add_all(part, (shape.intermediate, shape.hidden), shape, stacks[part])
        self._add_all("down", (shape.hidden, shape.intermediate), shape, stacks["down"])
        return {f"{part}_packed": stack.tensor for part, stack in stacks.items()}

    def _add_all(self, part: str, expected: tuple[int, int], shape: Shape, stack: Stack) -> None:
        layers = self.parts.get(part, {})
        if -1 in layers:
            layer = self._stack(part, expected, shape)
            for expert in range(shape.experts):
                stack.add(_packed(layer, expert))
            return
        if sorted(layers) != list(range(shape.experts)):
            raise Unsupported(f"{part} has 4-bit weights of {len(layers)} experts, the model {shape.experts}")
        for expert in range(shape.experts):
            layer = layers[expert]
            if layer.shape != expected or layer.experts != 1:
                raise Unsupported(f"{layer.name} is {layer!r}, must be {expected[0]} x {expected[1]}")
            stack.add(_packed(layer, 0))

    def _stack(self, part: str, expected: tuple[int, int], shape: Shape) -> Layer:
        layers = self.parts.get(part, {})
        if list(layers) != [-1] or layers[-1].shape != expected or layers[-1].experts != shape.experts:
            raise Unsupported(f"its weights do not fit: {', '.join(map(repr, layers.values())) or f'no {part}'}")
        return layers[-1]

    def _biases(self, shape: Shape) -> dict[str, torch.Tensor]:
        def stacked(part: str) -> torch.Tensor:
            layers = self.parts[part]
            own = ((layers[-1], expert) if -1 in layers else (layers[expert], 0) for expert in range(shape.experts))
            return torch.stack([torch.from_numpy(layer.bias(index)) for layer, index in own])

        halves = shape.halves(stacked("both"), 1) if "both" in self.parts else (stacked("gate"), stacked("up"))
        gate, up = (half.contiguous() for half in halves)
        return {"gate_bias": gate, "up_bias": up, "down_bias": stacked("down")}


def _packed(layer: Layer, expert: int) -> torch.Tensor:
    return torch.frombuffer(layer.packed(expert, threads=torch.get_num_threads()), dtype=torch.uint8)


def _halves(packed: torch.Tensor, shape: Shape) -> list[torch.Tensor]:
    """Gate and up of a weight that has the rows of both, packed apart with the same codes and scales: of MXFP4."""
    weight = Weight.from_packed(packed)
    if weight.scale_dtype != "e8m0" or weight.group_size != 32 or weight.k % 32 or weight.permutation is not None:
        raise Unsupported(f"gate and up are one weight, {weight.text}")
    codes, scales = (torch.from_numpy(array) for array in weight.unpack()[:2])
    found = []
    for rows, their_scales in zip(shape.halves(codes, 0), shape.halves(scales, 0), strict=True):
        blocks = rows.contiguous().view(1, len(rows), -1, 16)
        parts = {"weight_blocks": blocks, "weight_scales": their_scales[None]}
        (layer,) = Given(parts).open().values()
        found.append(_packed(layer, 0))
        if Weight.from_packed(found[-1]).table != weight.table:
            raise Unsupported(f"gate and up are one weight, {weight.text}")
    return found


def experts_in(model: Any, layers: Iterable[Layer]) -> list[ExpertsInFile]:
    """The modules of experts of a model that a checkpoint has 4-bit weights for.

    Args:
        model: without values, every parameter still in its place.
        layers: of the checkpoint.
    """
    modules = {name: reason for name, _, reason in experts_of(model)}
    if not modules:
        return []
    conversions = get_model_conversion_mapping(model)
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    found: dict[str, ExpertsInFile] = {}
    for layer in layers:
        module, part, expert = _place_of(layer, renamings, converters)
        own = own_name(model, module) if part else None
        if own is not None and own in modules:
            group = found.setdefault(own, ExpertsInFile(own, modules[own]))
            group.parts.setdefault(part, {})[expert] = layer
    return list(found.values())


def _place_of(layer: Layer, renamings: list[WeightRenaming], converters: list[WeightConverter]) -> tuple[str, str, int]:
    """Which module's a layer is, which part, of which expert, as :class:`ExpertsInFile` has it; no part if none's."""
    if layer.experts != 1:
        module, _, last = layer.name.rpartition(".")
        return module, {_GATE_UP: "both", _DOWN: "down"}.get(last, ""), -1
    linear = _LINEAR.fullmatch(layer.name)
    if linear is None:
        return "", "", 0
    key, pattern = rename_source_key(f"{layer.name}.weight", renamings, converters)
    if pattern is not None:
        return key.rpartition(".")[0], _part_of(converters, pattern), int(linear[2])
    # Quantizers give single experts linears also where transformers' own files have stacks, as of gpt-oss.
    return linear[1], _PARTS.get(linear[3], ""), int(linear[2])


def _part_of(converters: list[WeightConverter], pattern: str) -> str:
    """What a linear of an expert is, by transformers' conversion of it: joined with the others, gate before up."""
    for converter in converters:
        if pattern not in converter.source_patterns:
            continue
        joins = [type(operation) for operation in converter.operations]
        last = converter.target_patterns[0].rpartition(".")[2]
        sources = converter.source_patterns
        if last == _GATE_UP and joins == [MergeModulelist, Concatenate] and len(sources) == 2:
            return "gate" if sources[0] == pattern else "up"
        if last == _DOWN and joins == [MergeModulelist] and len(sources) == 1:
            return "down"
    return ""
