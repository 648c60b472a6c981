# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of linears whose activations are computed with their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from zenwoq._structs import Activation
from zenwoq.torch._fits import Apart, check_pair, linear_of
from zenwoq.torch._module import Linear, has_hooks
from zenwoq.torch._operator import gated, linear_fused


@dataclass(frozen=True)
class Fused:
    """What a block was, and how it is computed.

    Attributes:
        block: the class that the block had, whose forward computes the same one by one.
        argument: the name of its forward's argument.
        first: the names of its first linears: gate and up, or one linear of both, or of a plain block the only one.
        last: the name of the linear that takes their result.
        activation: what is computed of the first (half's) product.
        act: the name of the module that the block has for it, or None.
        act_class: that module's class.
    """

    block: type[torch.nn.Module]
    argument: str
    first: tuple[str, ...]
    last: str
    activation: Activation
    act: str | None
    act_class: type[torch.nn.Module] | None


class FusedBlock(torch.nn.Module):
    """A block that was fused in its place: it has the modules, names, hooks and attributes that it had.

    Where its modules are no longer what they were (a hook was added, a linear was replaced), it computes as before.
    """

    _fused: Fused

    def forward(self, x: torch.Tensor | None = None, **named: torch.Tensor) -> torch.Tensor:
        """What the block's own forward computes, with fewer roundings.

        Args:
            x: ``[..., in_features]`` float32, float16 or bfloat16 on the CPU.
            named: x by the name that the block's own forward has for it.

        Returns:
            ``[..., out_features]`` in x's dtype, or in autocast's under autocast.

        Raises:
            RuntimeError: as :meth:`Linear.forward` does.
            TypeError: there are other arguments than x.
        """
        fused = self._fused
        if x is None:
            if [*named] != [fused.argument]:
                raise TypeError(f"forward takes {fused.argument}, not {', '.join(named) or 'nothing'}")
            x = named[fused.argument]
        first: Any = [self._modules[name] for name in fused.first]
        act = self._modules[fused.act] if fused.act is not None else None
        is_as_it_was = type(act) is (fused.act_class or type(None)) and (act is None or not has_hooks(act))
        for layer in first:
            is_as_it_was = is_as_it_was and type(layer) is Linear and not has_hooks(layer)
        if not is_as_it_was or (x.requires_grad is True and torch.is_grad_enabled()):  # which a linear refuses
            return fused.block.forward(self, x)  # type: ignore[no-any-return]
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        try:
            hidden = self._hidden(x, first, fused.activation)
        except RuntimeError:
            if self.fits():
                raise
            return fused.block.forward(self, x)  # type: ignore[no-any-return]
        return self._modules[fused.last](hidden)  # type: ignore[misc, no-any-return]

    def fits(self) -> bool:
        """Whether its first linears can still be computed in one call: one may have been replaced."""
        first = self._fused.first
        try:
            check_pair(first, isinstance(self, GatedMLP), [linear_of(self, name) for name in first])
        except Apart:
            return False
        return True

    def _hidden(self, x: torch.Tensor, first: list[Linear], activation: Activation) -> torch.Tensor:
        raise NotImplementedError

    def __prepare_scriptable__(self) -> torch.nn.Module:
        """Refuses torch.jit.script, which asks for this before it compiles."""
        raise RuntimeError(
            f"torch.jit.script cannot compile a fused {self._fused.block.__name__}: call "
            f"zenwoq.torch.optimize(model, fuse=False) before"
        )

    def extra_repr(self) -> str:
        """Shows what the block was and what is one call now."""
        fused = self._fused
        return f"{fused.block.__name__} with {fused.activation.name.lower()} of {' and '.join(fused.first)} in one call"


class GatedMLP(FusedBlock):
    """A gated MLP, ``down(activation(gate(x)) * up(x))``, whose first part is one call (``zenwoq::gated``).

    It takes the place of a model's own class in :func:`zenwoq.torch.optimize`. Gate and up are two linears, or one
    whose first half of rows is gate. Their sums stay in float32 until the product ``activation(gate) * up`` is rounded
    to x's dtype, once; the model's own forward (``fuse=False``) rounds gate, up, the activation and the product.
    """

    def _hidden(self, x: torch.Tensor, first: list[Linear], activation: Activation) -> torch.Tensor:
        gate, up = first[0], first[1] if len(first) == 2 else None
        return gated(  # type: ignore[no-any-return]
            x,
            gate._buffers["packed"],
            None if up is None else up._buffers["packed"],
            gate._parameters["bias"],
            None if up is None else up._parameters["bias"],
            gate.out_features // 2 if up is None else gate.out_features,
            activation.value,
        )


class ActivatedMLP(FusedBlock):
    """A plain MLP, ``fc2(activation(fc1(x)))``, whose activation is computed with fc1 (``zenwoq::linear_fused``).

    It takes the place of a model's own class in :func:`zenwoq.torch.optimize`. The activation is computed of fc1's sums
    in float32 and rounded to x's dtype, once; the model's own forward (``fuse=False``) rounds before it, too.
    """

    def _hidden(self, x: torch.Tensor, first: list[Linear], activation: Activation) -> torch.Tensor:
        (layer,) = first
        return linear_fused(  # type: ignore[no-any-return]
            x, layer._buffers["packed"], layer._parameters["bias"], layer.out_features, activation.value, None, []
        )
