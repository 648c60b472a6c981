# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears that are called one after the other with the same tensor, as a block's query, key and value projections.

The first of them computes all and lays the others' results ready, for its own thread; each of the others takes its result
if it is called with the very same tensor, unchanged, and computes by itself otherwise. Nothing else changes: modules, names
and the values are the same bits, since ``zenwoq::linears`` computes each product as if it were run alone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from zenwoq.torch._operator import linear, linears

if TYPE_CHECKING:
    from zenwoq.torch._module import Linear


class _Ready:
    """Results that wait for their linears. They are dropped with the tensor that they were computed from."""

    __slots__ = ("results", "state", "x")

    def __init__(self, x: torch.Tensor, results: dict[Linear, torch.Tensor]):
        self.results = results
        self.state = _state_of(x)
        self.x = weakref.ref(x, lambda _: results.clear())

    def take(self, layer: Linear, x: torch.Tensor) -> torch.Tensor | None:
        """The result of a linear that is called with x; None if there is none."""
        if self.x() is not x or self.state != _state_of(x):
            return None
        return self.results.pop(layer, None)


class _OfThread(threading.local):
    """A thread is inside of one block at a time, so it needs one place."""

    ready: _Ready | None = None


_of_thread = _OfThread()


def _state_of(x: torch.Tensor) -> tuple[int, bool]:
    """What changes if values of x are written, or if results are to be tensors of another kind."""
    return 0 if x.is_inference() else x._version, torch.is_inference_mode_enabled()


class SharedInput:
    """The linears, which it does not keep alive: what was replaced is freed, and the rest compute by themselves.

    A deep copy of one of them, or its pickle, has the others, too, until it is made.

    Args:
        layers: in the order in which they are called.
    """

    def __init__(self, layers: Sequence[Linear]):
        self._layers = [weakref.ref(layer) for layer in layers]

    def layers(self) -> list[Linear | None]:
        """The linears; None in place of one that is there no more."""
        return [layer() for layer in self._layers]

    def product(self, layer: Linear, x: torch.Tensor) -> torch.Tensor:
        """What the layer computes of x, whose values and gradients it has looked at."""
        ready = _of_thread.ready
        if ready is not None:
            result = ready.take(layer, x)
            if result is not None:
                if not ready.results:
                    _of_thread.ready = None
                return result
        if self._layers[0]() is layer and type(x) is torch.Tensor:
            return self._all(layer, x)
        return linear(x, layer._buffers["packed"], layer._parameters["bias"], layer.out_features)  # type: ignore[no-any-return]

    def _all(self, first: Linear, x: torch.Tensor) -> torch.Tensor:
        layers = [first]
        for reference in self._layers[1:]:
            layer = reference()
            if layer is not None and layer.is_only_a_product():
                layers.append(layer)
        own, *others = linears(
            x,
            [layer._buffers["packed"] for layer in layers],
            [layer._parameters["bias"] for layer in layers],
            [layer.out_features for layer in layers],
        )
        _of_thread.ready = _Ready(x, dict(zip(layers[1:], others, strict=True)))
        return own  # type: ignore[no-any-return]

    def __getstate__(self) -> list[Any]:
        return self.layers()

    def __setstate__(self, layers: list[Any]) -> None:
        self._layers = [weakref.ref(layer) if layer is not None else _gone for layer in layers]


def _gone() -> None:
    """In place of a reference to a linear that is there no more."""
