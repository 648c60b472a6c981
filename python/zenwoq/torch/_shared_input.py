# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears that are called one after the other with the same tensor, as a block's query, key and value projections.

The first of them computes all and lays the others' results ready, for its own thread; each of the others takes its
result if it is called with the very same tensor, unchanged (as far as torch counts writes: not those of another library
into its memory), and computes by itself otherwise, and in inference mode, where torch does not count. Modules and names
stay what they are, and results have the same bits, since ``zenwoq::linears`` computes each product as if it were run
alone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from zenwoq.torch._module import Linear, has_hooks
from zenwoq.torch._operator import linear, linears


class _Product(NamedTuple):
    """A result, and what it was computed of besides x.

    Attributes:
        result: the result.
        packed, bias: the linear's.
        versions: of both; -1 where torch counts no writes.
    """

    result: torch.Tensor
    packed: torch.Tensor | None
    bias: torch.Tensor | None
    versions: tuple[int, int]

    def is_of(self, layer: Linear) -> bool:
        """Whether the linear has still what it had."""
        packed, bias = layer._buffers["packed"], layer._parameters["bias"]
        return packed is self.packed and bias is self.bias and self.versions == (_version(packed), _version(bias))


def _version(tensor: torch.Tensor | None) -> int:
    return -1 if tensor is None or tensor.is_inference() else tensor._version


class _OfThread(threading.local):
    """What waits in a thread, which is inside of one block at a time.

    Attributes:
        ready: the tensor (by a weak reference), its version and the results, by their linears, which are dropped with
            the tensor; or None.
    """

    ready: tuple[weakref.ref[torch.Tensor], int, dict[Linear, _Product]] | None = None


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
        own_packed, own_bias = layer._buffers["packed"], layer._parameters["bias"]
        # Tracers that give tensors of their own kind see each product, and so does torch.jit.trace, which cannot record
        # lists of optional tensors. A tensor of inference mode does not count the times that it was written.
        if type(x) is not torch.Tensor or torch._C._is_tracing() or x.is_inference():
            return linear(x, own_packed, own_bias, layer.out_features)  # type: ignore[no-any-return]
        version = x._version
        ready = _of_thread.ready
        if ready is not None and ready[0]() is x and ready[1] == version:
            results = ready[2]
            product = results.pop(layer, None)
            if not results:
                _of_thread.ready = None
            if product is not None and product.is_of(layer):
                return product.result
        if self._layers[0]() is not layer:
            return linear(x, own_packed, own_bias, layer.out_features)  # type: ignore[no-any-return]
        layers = [layer]
        packed, bias, n = [own_packed], [own_bias], [layer.out_features]
        for reference in self._layers[1:]:
            other = reference()
            if other is not None and not has_hooks(other):
                layers.append(other)
                packed.append(other._buffers["packed"])
                bias.append(other._parameters["bias"])
                n.append(other.out_features)
        products = linears(x, packed, bias, n)
        results = {
            each: _Product(product, its, its_bias, (_version(its), _version(its_bias)))
            for each, product, its, its_bias in zip(layers, products, packed, bias, strict=True)
        }
        own = results.pop(layer).result
        _of_thread.ready = weakref.ref(x, lambda _: results.clear()), version, results
        return own

    def __getstate__(self) -> list[Any]:
        return self.layers()

    def __setstate__(self, layers: list[Any]) -> None:
        self._layers = [weakref.ref(layer) if layer is not None else _gone for layer in layers]


def _gone() -> None:
    """In place of a reference to a linear that is there no more."""
