# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears that are called one after the other with the same tensor, as a block's query, key and value projections.

The first of them computes all and lays the others' results ready, for its own thread; each of the others takes its
result if it is called with the very same tensor, unchanged, and computes by itself otherwise. Modules and names stay
what they are, and results have the same bits, since ``zenwoq::linears`` computes each product as if it were run alone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from zenwoq.torch._module import Linear, has_hooks
from zenwoq.torch._operator import linear, linears


class _OfThread(threading.local):
    """What waits in a thread, which is inside of one block at a time.

    Attributes:
        ready: the tensor (by a weak reference), its version and the results, by their linears, which are dropped with
            the tensor; or None.
    """

    ready: tuple[weakref.ref[torch.Tensor], int, dict[Linear, torch.Tensor]] | None = None


_of_thread = _OfThread()


class SharedInput:
    """The linears, which it does not keep alive: what was replaced is freed, and the rest compute by themselves.

    A deep copy of one of them, or its pickle, has the others, too, until it is made.

    Args:
        layers: in the order in which they are called.
    """

    def __init__(self, layers: Sequence[Linear]):
        self._layers: list[Callable[[], Linear | None]] = [weakref.ref(layer) for layer in layers]

    def layers(self) -> list[Linear | None]:
        """The linears; None in place of one that is there no more."""
        return [layer() for layer in self._layers]

    def product(self, layer: Linear, x: torch.Tensor) -> torch.Tensor:
        """What the layer computes of x, which it has found to want no gradients, outside of autocast."""
        version = -1 if x.is_inference() else x._version  # which changes if its values are written
        ready = _of_thread.ready
        if ready is not None and ready[0]() is x and ready[1] == version:
            results = ready[2]
            result = results.pop(layer, None)
            if not results:
                _of_thread.ready = None
            if result is not None:
                return result
        # Tracers that give tensors of their own kind see each product, and so does torch.jit.trace, which cannot record
        # lists of optional tensors.
        if self._layers[0]() is not layer or type(x) is not torch.Tensor or torch._C._is_tracing():
            return linear(x, layer._buffers["packed"], layer._parameters["bias"], layer.out_features)  # type: ignore[no-any-return]
        layers = [layer]
        packed, bias, n = [layer._buffers["packed"]], [layer._parameters["bias"]], [layer.out_features]
        for reference in self._layers[1:]:
            other = reference()
            if other is not None and not has_hooks(other):
                layers.append(other)
                packed.append(other._buffers["packed"])
                bias.append(other._parameters["bias"])
                n.append(other.out_features)
        products = linears(x, packed, bias, n)
        results = dict(zip(layers, products, strict=True))
        own = results.pop(layer)
        _of_thread.ready = weakref.ref(x, lambda _: results.clear()), version, results
        return own

    def __getstate__(self) -> list[Any]:
        return self.layers()

    def __setstate__(self, layers: list[Any]) -> None:
        self._layers = [weakref.ref(layer) if layer is not None else _gone for layer in layers]


def _gone() -> None:
    """In place of a reference to a linear that is there no more."""
