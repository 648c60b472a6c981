# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' experts with packed 4-bit weights.

A module of experts keeps its class, its config and its names. Its parameters gate_up_proj and down_proj become buffers
``[experts, bytes]`` of packed weights, and the implementation "zenwoq" of transformers' registry of experts runs them.
The module gets a copy of the model's config to say so, so that the other modules, and the model's own config, run what
they ran.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zenwoq import Weight
from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._experts_shape import (
    DENSE_BIASES,
    IMPLEMENTATION,
    RECORD,
    WEIGHTS,
    Shape,
    is_experts,
    is_packed,
    shape_of,
)
from zenwoq.torch._given import Unsupported
from zenwoq.torch._group import Group
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import aligned
from zenwoq.torch._operator import experts as run_experts

PACKED = ("gate_packed", "up_packed", "down_packed")
_BIASES = ("gate_bias", "up_bias", "down_bias")


@dataclass
class _Record:
    """What a module needs to be dense again.

    Attributes:
        shape: of the experts.
        config: the one that the module had.
        handles: of its hooks.
        group: the processes that have the other parts of the experts, or None.
    """

    shape: Shape
    config: Any
    handles: list[Any]
    group: Group | None = None


class Stack:
    """The packed weights of a module's experts ``[experts, bytes]``, each at a multiple of 64.

    Args:
        experts: their number.
    """

    def __init__(self, experts: int):
        self._experts = experts
        self._next = 0
        self._size = 0
        self._first: Weight | None = None
        self.tensor = torch.empty(0)

    def add(self, packed: torch.Tensor) -> None:
        """Copies the next expert's. Raises Unsupported if it is of another quantization than the first."""
        weight = Weight.from_packed(packed)
        if self._first is None:
            self._size = packed.numel()
            stride = -(-self._size // PACKED_ALIGNMENT) * PACKED_ALIGNMENT
            self.tensor = WeightMemory().empty(self._experts * stride).view(self._experts, stride)
            self._first = weight
        elif packed.numel() != self._size or weight.text != self._first.text or weight.table != self._first.table:
            raise Unsupported(f"expert {self._next} is {weight.text}, expert 0 {self._first.text}")
        if weight.x_scale is not None:
            raise Unsupported("its weights have factors of x")
        self.tensor[self._next, : self._size] = packed
        self._next += 1

    @property
    def text(self) -> str:
        """The experts' quantization."""
        return "" if self._first is None else self._first.text


def check_pairs(gate: torch.Tensor, up: torch.Tensor) -> None:
    """Raises Unsupported unless each expert's gate and up do the same with x."""
    for expert in range(len(gate)):
        first, second = Weight.from_packed(gate[expert]), Weight.from_packed(up[expert])
        if (first.text, first.table) != (second.text, second.table):
            raise Unsupported(f"gate of expert {expert} is {first.text}, up {second.text}")
        orders = [None if w.permutation is None else w.permutation.tobytes() for w in (first, second)]
        if orders[0] != orders[1]:
            raise Unsupported(f"gate and up of expert {expert} have columns in another order")


def install(module: Any, shape: Shape, packed: Mapping[str, torch.Tensor], biases: Mapping[str, torch.Tensor]) -> None:
    """Gives a module packed weights in place of its own, which it drops, and lets it run them.

    Whatever interrupts this, the module has either its own weights or the packed ones. One that is packed already, as
    where something was interrupted right after this, still knows the config that it had before.

    Args:
        module: of the shape.
        shape: see :func:`shape_of`.
        packed: by the names of :data:`PACKED`; tensors may be on the meta device, to be loaded.
        biases: ``gate_bias``, ``up_bias`` and ``down_bias``, ``[experts, n]``; none if the module has none.
    """
    record: _Record | None = vars(module).get(RECORD)
    if record is None:
        handles = [
            module.register_load_state_dict_pre_hook(_before_load),
            module.register_load_state_dict_post_hook(_after_load),
        ]
        record = _Record(shape, module.config, handles)
    own = {*WEIGHTS, *DENSE_BIASES}
    parameters = {name: parameter for name, parameter in module._parameters.items() if name not in own}
    for name in _BIASES:
        bias = biases.get(name)
        parameters[name] = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)
    config = copy.copy(record.config)
    config._experts_implementation_internal = IMPLEMENTATION  # the setter would change configs inside, too
    changes = {
        RECORD: record,
        "_parameters": parameters,
        "_buffers": {**module._buffers, **packed},
        "config": config,
        "_is_hf_initialized": True,  # transformers initializes experts by class: there is nothing to
    }
    vars(module).update(changes)  # at once


def make_room(module: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Gives a module packed weights without values, to be loaded.

    Args:
        module: of experts, dense or packed, with values or without.
        shapes: of the packed weights, by the names of :data:`PACKED`.

    Raises:
        Unsupported: zenwoq cannot run it.
        ValueError: the shapes are not those of packed weights.
    """
    if not is_experts(module):
        raise Unsupported(f"it is a {type(module).__name__}")
    shape = shape_of(module)
    lacks = [name for name in PACKED if name not in shapes]
    if lacks:
        raise ValueError(f"{lacks[0]} is missing")
    empty = {name: torch.empty(tuple(of), dtype=torch.uint8, device="meta") for name, of in shapes.items()}
    if problem := next((name for name, of in empty.items() if of.dim() != 2 or len(of) != shape.experts), ""):
        raise ValueError(f"{problem} has shape {list(empty[problem].shape)}, must be [{shape.experts}, bytes]")
    if is_packed(module):
        module._buffers.update(empty)
    else:
        install(module, shape, {name: empty[name] for name in PACKED}, biases_of(module, shape))


def biases_of(module: Any, shape: Shape) -> dict[str, torch.Tensor]:
    """The biases of a module that is not packed yet, for :func:`install`."""
    if not shape.has_bias:
        return {}
    gate_up, down = (module._parameters[name].detach() for name in DENSE_BIASES)
    gate, up = shape.halves(gate_up, 1)
    return {"gate_bias": gate.contiguous(), "up_bias": up.contiguous(), "down_bias": down}


def experts_forward(
    module: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """The implementation "zenwoq" of transformers' experts: ``zenwoq::experts``.

    A module without packed weights, in a model that was told to use "zenwoq", runs transformers' own default.

    Args:
        module: the experts.
        hidden_states: ``[tokens, hidden]`` float32, float16 or bfloat16 on the CPU.
        top_k_index: ``[tokens, slots]`` int64 or int32; ids that no expert has are skipped.
        top_k_weights: ``[tokens, slots]`` float32, float16 or bfloat16.

    Returns:
        ``[tokens, hidden]`` in hidden_states' dtype, or in autocast's under autocast.

    Raises:
        RuntimeError: something asks for gradients, has a wrong shape, dtype or device, or the weights are damaged.
    """
    record = getattr(module, RECORD, None)
    if record is None:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

        return ALL_EXPERTS_FUNCTIONS["grouped_mm"](module, hidden_states, top_k_index, top_k_weights)  # type: ignore[no-any-return]
    if torch.is_grad_enabled() and (hidden_states.requires_grad or top_k_weights.requires_grad):
        raise RuntimeError(
            "zenwoq's experts compute no gradients: call the model under torch.no_grad() or torch.inference_mode(), or "
            "zenwoq.torch.restore(model) to train it"
        )
    if torch.is_autocast_enabled("cpu"):
        hidden_states = hidden_states.to(torch.get_autocast_dtype("cpu"))
    buffers, parameters = module._buffers, module._parameters
    # Parts of sums are added before they are rounded.
    result = run_experts(
        hidden_states if record.group is None else hidden_states.float(),
        top_k_index,
        top_k_weights,
        buffers["gate_packed"],
        buffers["up_packed"],
        buffers["down_packed"],
        parameters["gate_bias"],
        parameters["up_bias"],
        parameters["down_bias"],
        record.shape.intermediate,
        record.shape.activation.value,
    )
    return result if record.group is None else record.group.sum(result).to(hidden_states.dtype)  # type: ignore[no-any-return]


def split_experts(module: Any, group: Group, begin: int, end: int) -> None:
    """Leaves a module features [begin, end) of all experts between their two products; others have the rest.

    Args:
        module: of packed experts.
        group: the processes, whose results are added from then on.
        begin, end: multiples of 64, and borders of groups of the second product.
    """
    record: _Record = vars(module)[RECORD]
    for name in PACKED:
        stack = Stack(record.shape.experts)
        for packed in module._buffers[name]:
            weight = Weight.from_packed(packed)
            part = weight.slice(k_begin=begin, k_end=end) if name == "down_packed" else weight.slice(begin, end)
            stack.add(torch.frombuffer(bytearray(part.packed), dtype=torch.uint8))
        module._buffers[name] = stack.tensor
    for name in _BIASES:
        bias = module._parameters[name]
        if bias is None:
            continue
        if name != "down_bias":
            module._parameters[name] = torch.nn.Parameter(bias[:, begin:end].contiguous(), requires_grad=False)
        elif group.rank > 0:  # it is added once
            module._parameters[name] = torch.nn.Parameter(torch.zeros_like(bias), requires_grad=False)
    shape = dataclasses.replace(record.shape, intermediate=end - begin)
    vars(module)[RECORD] = dataclasses.replace(record, shape=shape, group=group)


def problem_of(module: Any) -> str:
    """What is wrong with the packed weights of a module; empty if nothing is, or they have no values yet."""
    return _problem_of(vars(module)[RECORD].shape, module._buffers)


def _problem_of(shape: Shape, packed: Mapping[str, Any]) -> str:
    for name, tensor in packed.items():
        if name not in PACKED or tensor is None or tensor.is_meta:
            continue
        expected = (shape.intermediate, shape.hidden)
        expected = expected[::-1] if name == "down_packed" else expected
        if tensor.dtype != torch.uint8 or tensor.dim() != 2 or len(tensor) != shape.experts:
            return f"{name} is {tensor.dtype} {list(tensor.shape)}, must be uint8 [{shape.experts}, bytes]"
        for expert in range(shape.experts):
            try:
                weight = Weight.from_packed(tensor[expert])
            except (RuntimeError, TypeError, ValueError) as error:
                return f"{name} of expert {expert}: {error}"
            if (weight.n, weight.k) != expected:
                return f"{name} of expert {expert} is {weight.n} x {weight.k}, must be {expected[0]} x {expected[1]}"
    return ""


def _before_load(
    module: Any,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Makes room for packed weights of another quantization, whose sizes differ from the present ones'."""
    if not is_packed(module):  # an installation that was interrupted
        return
    given = {name: state_dict[f"{prefix}{name}"] for name in PACKED if f"{prefix}{name}" in state_dict}
    if problem := _problem_of(vars(module)[RECORD].shape, given):
        error_msgs.append(f"{prefix}{problem}")
        for name in given:  # so that none is copied
            del state_dict[f"{prefix}{name}"]
        return
    for name, tensor in given.items():
        if module._buffers[name].shape != tensor.shape:
            device = "meta" if local_metadata.get("assign_to_params_buffers") else module.down_packed.device
            module._buffers[name] = torch.empty(tensor.shape, dtype=torch.uint8, device=device)


def _after_load(module: Any, _: object) -> None:
    """Lets the packed weights lie where kernels read them fastest."""
    for name in PACKED if is_packed(module) else ():
        module._buffers[name] = aligned(module._buffers[name])


def weights_of(module: Any) -> dict[str, Weight]:
    """Those of the first expert, by their names (``"gate_packed"``), in the memory of the module's buffers."""
    return {name: Weight.from_packed(module._buffers[name][0]) for name in PACKED}


def text_of(module: Any) -> str:
    """What the packed weights are: ``"int4 sym per-group 32, scale bf16"``."""
    return ", ".join(dict.fromkeys(weight.text for weight in weights_of(module).values()))


def bytes_of(module: Any) -> int:
    """The size of the packed weights."""
    return sum(module._buffers[name].nbytes for name in PACKED)


def make_dense(module: Any, dtype: torch.dtype) -> None:
    """Gives a module parameters with the values of its packed weights, and the implementation that it had.

    Whatever interrupts this, the module has either its packed weights or the dense ones.
    """
    record: _Record = vars(module)[RECORD]
    shape = record.shape
    gate_up = torch.empty((shape.experts, 2 * shape.intermediate, shape.hidden), dtype=dtype)
    down = torch.empty((shape.experts, shape.hidden, shape.intermediate), dtype=dtype)
    for expert in range(shape.experts):
        for name, values in zip(PACKED, (*shape.halves(gate_up[expert], 0), down[expert]), strict=True):
            dense = torch.empty(values.shape, dtype=torch.float32)
            values.copy_(Weight.from_packed(module._buffers[name][expert]).dequantize(out=dense))
    biases = [module._parameters[name] for name in _BIASES]
    dense_weights = (gate_up, down)
    if shape.is_transposed:
        dense_weights = (gate_up.transpose(1, 2).contiguous(), down.transpose(1, 2).contiguous())
    parameters = {name: parameter for name, parameter in module._parameters.items() if name not in _BIASES}
    for name, values in zip(WEIGHTS, dense_weights, strict=True):
        parameters[name] = torch.nn.Parameter(values)
    if shape.has_bias:
        gate, up, down_bias = (bias.detach().to(dtype) for bias in biases)
        both = torch.empty((shape.experts, 2 * shape.intermediate), dtype=dtype)
        for half, bias in zip(shape.halves(both, 1), (gate, up), strict=True):
            half.copy_(bias)
        for name, bias in zip(DENSE_BIASES, (both, down_bias), strict=True):
            parameters[name] = torch.nn.Parameter(bias)
    changes = {
        RECORD: None,
        "_parameters": parameters,
        "_buffers": {name: buffer for name, buffer in module._buffers.items() if name not in PACKED},
        "config": record.config,
    }
    vars(module).update(changes)  # at once
    for handle in record.handles:
        handle.remove()
    del vars(module)[RECORD]
    vars(module).pop("_is_hf_initialized", None)


def register() -> None:
    """Makes transformers know the implementation."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, experts_forward)
