# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The same weights and activations for every peer, the exact product, and the error against it."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ERROR_ROWS = 64  # rows of a large M of which the error is computed
BLOCK_ROWS = 512  # rows of W that are f64 at once

NIBBLES = np.stack([np.arange(256) & 15, np.arange(256) >> 4], 1).astype(np.uint8)  # [256, 2], of each byte


def bf16_to_f32(bits: Array) -> Array:
    """Converts the uint16 bits of bf16 to f32 exactly; any shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(values: Array) -> Array:
    """Rounds finite f32 to the uint16 bits of bf16, to nearest even; any shape."""
    bits = values.view(np.uint32)
    rounded: Array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


class Weight:
    """A weight: W[n,k] = scale[n, k // group] * (code[n,k] - 8).

    Attributes:
        group: the group size.
        codes: uint8 [N, K/2], even k in the low four bits.
        scale_bits: uint16 [N, K/group], bf16, positive, around 2^-8.
    """

    def __init__(self, n: int, k: int, group: int, index: int):
        random = np.random.Generator(np.random.PCG64([n, k, group, index]))
        self.group = group
        self.codes = np.frombuffer(random.bytes(n * k // 2), np.uint8).reshape(n, k // 2)
        mantissas = np.frombuffer(random.bytes(n * (k // group)), np.uint8).astype(np.uint16) & 0x7F
        self.scale_bits = (mantissas | 0x3B80).reshape(n, k // group)

    def scales(self) -> Array:
        """The scales as f32 [N, K/group]; exact in bf16, and in f16 too."""
        return bf16_to_f32(self.scale_bits)

    def nibbles(self) -> Array:
        """The codes as uint8 [N, K], 0..15."""
        codes: Array = NIBBLES[self.codes].reshape(self.codes.shape[0], -1)
        return codes

    def values(self, begin: int = 0, end: int | None = None) -> Array:
        """Rows of W as f32 [end - begin, K], exact because a product has 12 bits."""
        rows = self.codes[begin:end]
        values: Array = (NIBBLES.astype(np.float32) - 8)[rows].reshape(rows.shape[0], -1, self.group)
        values *= bf16_to_f32(self.scale_bits[begin:end])[:, :, None]
        return values.reshape(rows.shape[0], -1)


class Problem:
    """The operands of y[M,N] = x[M,K] * W[N,K]^T for each of several copies of W, all different.

    Attributes:
        x_bits: uint16 [M, K], bf16.
    """

    def __init__(self, n: int, k: int, group: int, m: int, copies: int):
        self.n, self.k, self.group, self.m, self.copies = n, k, group, m, copies
        random = np.random.Generator(np.random.PCG64([k, m]))
        self.x_bits = f32_to_bf16(random.standard_normal((m, k), np.float32))

    @property
    def weights_key(self) -> tuple[int, int, int]:
        """Problems with the same key have the same weights."""
        return self.n, self.k, self.group

    def weight(self, index: int) -> Weight:
        """A copy of W."""
        return Weight(self.n, self.k, self.group, index)

    def x(self) -> Array:
        """The activations as f32 [M, K], exact in bf16."""
        return bf16_to_f32(self.x_bits)

    def relative_error(self, y: Array, index: int) -> float:
        """Frobenius norm of y - x W^T over that of x W^T in f64, at most ERROR_ROWS rows of y [M, N]; W: copy index."""
        weight = self.weight(index)
        rows = np.unique(np.linspace(0, self.m - 1, min(self.m, ERROR_ROWS)).astype(int))
        x = bf16_to_f32(self.x_bits[rows]).astype(np.float64)
        exact = np.concatenate(
            [x @ weight.values(n, n + BLOCK_ROWS).astype(np.float64).T for n in range(0, self.n, BLOCK_ROWS)], axis=1
        )
        return float(np.linalg.norm(y[rows].astype(np.float64) - exact) / np.linalg.norm(exact))
