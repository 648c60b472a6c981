# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears that are called one after the other with the same tensor, as a block's query, key and value projections.

The first of them computes all and lays the others' results ready, for its own thread; each of the others takes its
result if it is called with the very same tensor, unchanged (as far as torch counts writes: not those of another library
into its memory), and computes by itself otherwise, and in inference mode, where torch does not count. Modules and names
stay what they are, and results have the same bits, since ``zenwoq::linears`` computes each product as if it were run
alone. What is gained is one loop over threads in place of three: on few threads each linear computes by itself.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from zenwoq.torch._module import Linear, has_hooks
from zenwoq.torch._operator import linear, linears, three_linears

_is_tracing = torch._C._is_tracing


# A result, and what it was computed of besides x: packed and bias of its linear, and their versions.
_Product = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, int, int]


def _is_of(product: _Product, packed: torch.Tensor | None, bias: torch.Tensor | None) -> bool:
    """Whether it was computed of these, and nobody has written to them."""
    _, its_packed, its_bias, packed_version, bias_version = product
    is_same = packed is its_packed and bias is its_bias and _version(packed) == packed_version
    return is_same and (bias is None or _version(bias) == bias_version)


def _version(tensor: torch.Tensor | None) -> int:
    """How often it was written; -1 where torch does not count."""
    return -1 if tensor is None or tensor.is_inference() else tensor._version


def _all(x: torch.Tensor, first: Linear, others: list[Linear]) -> tuple[torch.Tensor, dict[Linear, _Product]]:
    """The first's result and the others', by their linears."""
    layers = [first, *others]
    packed: list[Any] = [layer._buffers["packed"] for layer in layers]
    bias: list[Any] = [layer._parameters["bias"] for layer in layers]
    own, *rest = linears(x, packed, bias, [layer.out_features for layer in layers])
    operands = zip(rest, packed[1:], bias[1:], map(_version, packed[1:]), map(_version, bias[1:]), strict=True)
    return own, dict(zip(others, operands, strict=True))


def _three(x: torch.Tensor, first: Linear, others: list[Linear]) -> tuple[torch.Tensor, dict[Linear, _Product]]:
    """The same, line by line: small products wait for this code."""
    a, b = others
    packed, a_packed, b_packed = first._buffers["packed"], a._buffers["packed"], b._buffers["packed"]
    bias, a_bias, b_bias = first._parameters["bias"], a._parameters["bias"], b._parameters["bias"]
    n, a_n, b_n = first.out_features, a.out_features, b.out_features
    own, of_a, of_b = three_linears(x, packed, bias, n, a_packed, a_bias, a_n, b_packed, b_bias, b_n)
    return own, {
        a: (of_a, a_packed, a_bias, _version(a_packed), _version(a_bias)),
        b: (of_b, b_packed, b_bias, _version(b_packed), _version(b_bias)),
    }


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
        """What the layer computes of x, which it has found to want no gradients, outside of autocast, on threads."""
        own_packed, own_bias = layer._buffers["packed"], layer._parameters["bias"]
        # Tracers that give tensors of their own kind see each product, and so does torch.jit.trace. A tensor of
        # inference mode does not count the times that it was written.
        if type(x) is not torch.Tensor or x.is_inference() or _is_tracing():
            return linear(x, own_packed, own_bias, layer.out_features)  # type: ignore[no-any-return]
        version = x._version
        ready = _of_thread.ready
        if ready is not None and ready[0]() is x and ready[1] == version:
            results = ready[2]
            product = results.pop(layer, None)
            if not results:
                _of_thread.ready = None
            if product is not None and _is_of(product, own_packed, own_bias):
                return product[0]
        if self._layers[0]() is not layer:
            return linear(x, own_packed, own_bias, layer.out_features)  # type: ignore[no-any-return]
        others = [other for each in self._layers[1:] if (other := each()) is not None and not has_hooks(other)]
        own, results = (_three if len(others) == 2 else _all)(x, layer, others)
        _of_thread.ready = weakref.ref(x, lambda _: results.clear()), version, results
        return own

    def __getstate__(self) -> list[Any]:
        return self.layers()

    def __setstate__(self, layers: list[Any]) -> None:
        self._layers = [weakref.ref(layer) if layer is not None else _gone for layer in layers]


def _gone() -> None:
    """In place of a reference to a linear that is there no more."""
