# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Which modules are transformers' experts, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from zenwoq._structs import Activation
from zenwoq.torch._given import Unsupported

IMPLEMENTATION = "zenwoq"
RECORD = "_zenwoq_experts"  # attribute of a packed module: what _experts.py knows of it
_MARKS = ("has_gate", "has_bias", "is_transposed", "is_concatenated")
WEIGHTS = ("gate_up_proj", "down_proj")
DENSE_BIASES = ("gate_up_proj_bias", "down_proj_bias")
_ALPHA, _LIMIT = 1.702, 7.0  # of gpt-oss, which the C library has
_WITH_GATE: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    Activation.SILU: torch.nn.functional.silu,
    Activation.GELU_TANH: lambda gate: torch.nn.functional.gelu(gate, approximate="tanh"),
    Activation.GELU: torch.nn.functional.gelu,
    Activation.RELU: torch.relu,
}


@dataclass(frozen=True)
class Shape:
    """What a module of experts computes, and how its dense weights lie.

    Attributes:
        experts: their number.
        hidden, intermediate: features of x, and of what is between the two products.
        activation: what is multiplied with up, of gate.
        is_interleaved: whether gate and up take turns in gate_up_proj; else gate comes first.
        is_transposed: whether weights are ``[experts, in, out]``.
        has_bias: whether both products have biases.
    """

    experts: int
    hidden: int
    intermediate: int
    activation: Activation
    is_interleaved: bool
    is_transposed: bool
    has_bias: bool

    def halves(self, gate_up: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate and up of a tensor that has both along a dimension: views."""
        if not self.is_interleaved:
            gate, up = gate_up.chunk(2, dim)
            return gate, up
        pairs = gate_up.unflatten(dim, (self.intermediate, 2))
        return pairs.select(dim + 1, 0), pairs.select(dim + 1, 1)


def is_experts(module: torch.nn.Module) -> bool:
    """Whether a module's class is one that runs through transformers' registry of experts."""
    own = vars(module)
    is_dispatched = "experts_interface" in getattr(type(module).forward, "__code__", _NO_CODE).co_freevars
    return is_dispatched and "config" in own and all(mark in own for mark in _MARKS)


_NO_CODE = is_experts.__code__


def is_packed(module: torch.nn.Module) -> bool:
    """Whether it has packed weights."""
    return vars(module).get(RECORD) is not None


def experts_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str]]:
    """The modules of experts of a model that are not packed: names, modules, and why they must not be if so."""
    reasons: dict[str, str] = {}  # by the names of models in it
    for name, module in model.named_modules():
        if hasattr(module, "get_correct_experts_implementation"):
            reasons[name] = _reason_of_model(module)
        elif is_experts(module) and not is_packed(module):
            around = [outer for outer in reasons if not outer or name.startswith(f"{outer}.")]
            yield name, module, reasons[max(around, key=len)] if around else ""


def _reason_of_model(model: Any) -> str:
    """Why the experts of a model of transformers must not be packed; empty if nothing is known against it.

    Some classes want transformers' own code, unless they are told another one, because of how it rounds.
    """
    is_own_wish = model._can_set_experts_implementation() and model.get_correct_experts_implementation(None) == "eager"
    if not is_own_wish or model.config._experts_implementation != "eager":
        return ""
    return (
        f'{type(model).__name__} is to run transformers\' "eager" experts: to round them all the same, call '
        f'model.set_experts_implementation("{IMPLEMENTATION}") first (or pass '
        f'experts_implementation="{IMPLEMENTATION}" to from_checkpoint)'
    )


def shape_of(module: Any) -> Shape:
    """What a module of experts computes. Raises Unsupported with the reason why zenwoq cannot."""
    if is_packed(module):
        return vars(module)[RECORD].shape  # type: ignore[no-any-return]
    if "forward" in vars(module):
        raise Unsupported("its forward is replaced (an accelerate hook?)")
    if not module.has_gate:
        raise Unsupported("its experts have no gate")
    if getattr(module, "has_post_expert_norm", False):  # transformers before 5.20 has none
        raise Unsupported("its experts' results are normalized before they are weighted")
    expected = {*WEIGHTS, *(DENSE_BIASES if module.has_bias else ())}
    names = {name for name, parameter in module._parameters.items() if parameter is not None}
    if names != expected:
        raise Unsupported(f"its parameters are {', '.join(sorted(names))}, must be {', '.join(sorted(expected))}")
    activation, is_interleaved = _gate_of(module)
    if is_interleaved is module.is_concatenated:
        raise Unsupported("its gate does not take gate and up from where its weights have them")
    gate_up, down = (tuple(module._parameters[name].shape) for name in WEIGHTS)
    if len(gate_up) != 3 or len(down) != 3:
        raise Unsupported(f"its weights have {len(gate_up)} and {len(down)} dimensions, must have 3")
    if module.is_transposed:
        gate_up, down = ((shape[0], shape[2], shape[1]) for shape in (gate_up, down))
    experts, hidden, intermediate = down
    if gate_up != (experts, 2 * intermediate, hidden):
        raise Unsupported(f"its weights are {list(gate_up)} and {list(down)}, which do not fit")
    return Shape(
        experts, hidden, intermediate, activation, is_interleaved, bool(module.is_transposed), bool(module.has_bias)
    )


def _gate_of(module: Any) -> tuple[Activation, bool]:
    """What `_apply_gate` computes of gate and up, and whether they take turns: found by what it returns.

    It is called with numbers of all sizes, each gate with each up, so that a clamp, a factor or another function shows.
    """
    sizes = torch.tensor([0.0, *(1.37**exponent for exponent in range(-30, 29))], dtype=torch.float32, device="cpu")
    values = torch.cat((-sizes, sizes)).view(-1, 2)
    gate = values.repeat(len(values), 1)
    up = values.roll(1, 1).repeat_interleave(len(values), dim=0)
    for is_interleaved in (False, True):
        both = torch.stack((gate, up), -1).flatten(-2) if is_interleaved else torch.cat((gate, up), -1)
        try:
            with torch.no_grad(), torch.device("cpu"):  # while transformers loads, the default is another one
                found = module._apply_gate(both)
        except Exception as error:  # whatever an odd gate does
            raise Unsupported(f"its gate cannot be called ({type(error).__name__}: {error})") from error
        if not isinstance(found, torch.Tensor) or found.shape != gate.shape:
            continue
        near = 1e-6 * (gate * up).abs() + 1e-7  # torch's own functions differ by as much in their tails
        for activation, function in _WITH_GATE.items():
            expected = function(gate) * up
            if bool(((found - expected).abs() <= 1e-4 * expected.abs() + near).all()):
                return activation, is_interleaved
        low = gate.clamp(max=_LIMIT)
        oai = low * torch.sigmoid(_ALPHA * low) * (up.clamp(-_LIMIT, _LIMIT) + 1)
        if bool(((found - oai).abs() <= 1e-4 * oai.abs() + near).all()):
            return Activation.SWIGLU_OAI, is_interleaved
    act = type(getattr(module, "act_fn", None)).__name__
    raise Unsupported(f"its gate is none of those that are known ({type(module).__name__}, {act})")
