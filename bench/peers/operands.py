# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# The same weights and activations for every peer, the exact product, and the error against it.
import numpy as np

ERROR_ROWS = 64  # rows of a large M of which the error is computed
BLOCK_ROWS = 512  # rows of W that are f64 at once

NIBBLES = np.stack([np.arange(256) & 15, np.arange(256) >> 4], 1).astype(np.uint8)  # [256, 2], of each byte


def bf16_to_f32(bits):
    """uint16 bits of bf16 -> f32, exact; any shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(values):
    """f32 (finite) -> uint16 bits of bf16, to nearest even; any shape."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Weight:
    """W[n,k] = scale[n, k // group] * (code[n,k] - 8).

    codes uint8 [N, K/2], even k in the low four bits; scale_bits uint16 [N, K/group], bf16, positive, around 2^-8."""

    def __init__(self, n, k, group, index):
        random = np.random.Generator(np.random.PCG64([n, k, group, index]))
        self.group = group
        self.codes = np.frombuffer(random.bytes(n * k // 2), np.uint8).reshape(n, k // 2)
        mantissas = np.frombuffer(random.bytes(n * (k // group)), np.uint8).astype(np.uint16) & 0x7F
        self.scale_bits = (mantissas | 0x3B80).reshape(n, k // group)

    def scales(self):
        """f32 [N, K/group]; exact in bf16, and in f16 too."""
        return bf16_to_f32(self.scale_bits)

    def nibbles(self):
        """uint8 [N, K], 0..15."""
        return NIBBLES[self.codes].reshape(self.codes.shape[0], -1)

    def values(self, begin=0, end=None):
        """f32 [end - begin, K], rows of W: exact, a product has 12 bits."""
        rows = self.codes[begin:end]
        values = (NIBBLES.astype(np.float32) - 8)[rows].reshape(rows.shape[0], -1, self.group)
        values *= bf16_to_f32(self.scale_bits[begin:end])[:, :, None]
        return values.reshape(rows.shape[0], -1)


class Problem:
    """y[M,N] = x[M,K] * W[N,K]^T for each of so many copies of W, all different."""

    def __init__(self, n, k, group, m, copies):
        self.n, self.k, self.group, self.m, self.copies = n, k, group, m, copies
        random = np.random.Generator(np.random.PCG64([k, m]))
        self.x_bits = f32_to_bf16(random.standard_normal((m, k), np.float32))  # uint16 [M, K], bf16

    @property
    def weights_key(self):
        return self.n, self.k, self.group

    def weight(self, index):
        return Weight(self.n, self.k, self.group, index)

    def x(self):
        """f32 [M, K], exact in bf16."""
        return bf16_to_f32(self.x_bits)

    def relative_error(self, y, index):
        """Frobenius norm of y - x W^T over that of x W^T in f64, at most ERROR_ROWS rows of y [M, N]; W: copy index."""
        weight = self.weight(index)
        rows = np.unique(np.linspace(0, self.m - 1, min(self.m, ERROR_ROWS)).astype(int))
        x = bf16_to_f32(self.x_bits[rows]).astype(np.float64)
        exact = np.concatenate([x @ weight.values(n, n + BLOCK_ROWS).astype(np.float64).T
                                for n in range(0, self.n, BLOCK_ROWS)], axis=1)
        return float(np.linalg.norm(y[rows].astype(np.float64) - exact) / np.linalg.norm(exact))
