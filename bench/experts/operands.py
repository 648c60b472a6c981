# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The same weights, activations and routings for every peer, the exact result, and the error against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.experts.catalogue import Block
from bench.peers.operands import Array, Weight, bf16_to_f32, f32_to_bf16

CHECKED_WEIGHTS = 1 << 29  # about as many weights are multiplied to check a result, of at least two tokens
GATE, UP, DOWN = range(3)


class Routing:
    """Which experts each token has.

    Attributes:
        ids: int32 [T,S], all different in a row.
        weights: f32 [T,S], of values that bf16 has too, so that all peers have the same.
    """

    def __init__(self, block: Block, tokens: int, hot: bool, seed: int):
        random = np.random.Generator(np.random.PCG64([block.experts, tokens, seed]))
        ranks = random.random((1 if hot else tokens, block.experts)).argsort(axis=1)
        ids = np.broadcast_to(ranks[:, : block.slots], (tokens, block.slots))
        self.ids = np.ascontiguousarray(ids, np.int32)
        shares = random.random((tokens, block.slots), np.float32) + np.float32(0.1)
        shares /= shares.sum(axis=1, keepdims=True)
        self.weights = bf16_to_f32(f32_to_bf16(shares))


class Problem:
    """y[t] = sum over slots s of weights[t,s] * down(silu(gate x[t]) * (up x[t])) of expert ids[t,s].

    Attributes:
        x_bits: uint16 [T,H], bf16.
        routings: they take turns, so that experts are cold as they are in a network of many layers.
    """

    def __init__(self, block: Block, group: int, tokens: int, hot: bool, routings: int):
        self.block, self.group, self.tokens, self.hot = block, group, tokens, hot
        random = np.random.Generator(np.random.PCG64([block.hidden, tokens]))
        self.x_bits = f32_to_bf16(random.standard_normal((tokens, block.hidden), np.float32))
        self.routings = [Routing(block, tokens, hot, seed) for seed in range(routings)]

    @property
    def weights_key(self) -> tuple[Block, int]:
        """Problems with the same key have the same weights."""
        return self.block, self.group

    def weight(self, expert: int, part: int) -> Weight:
        """GATE, UP or DOWN of an expert."""
        n, k = self.block.intermediate, self.block.hidden
        if part == DOWN:
            n, k = k, n
        return Weight(n, k, self.group, 3 * expert + part)

    def stacked(self, part: int) -> tuple[Array, Array]:
        """Codes uint8 [E,N,K/2] (see Weight) and scales uint16 [E,N,K/group] of all experts."""
        weights = [self.weight(expert, part) for expert in range(self.block.experts)]
        return np.stack([each.codes for each in weights]), np.stack([each.scale_bits for each in weights])

    def x(self) -> Array:
        """The activations as f32 [T,H], exact in bf16."""
        return bf16_to_f32(self.x_bits)

    def relative_error(self, y: Array, index: int, folder: Path) -> float:
        """Frobenius norm of y - exact over that of exact, of some tokens of y [T,H] by that routing.

        The exact result is kept in `folder` for the other peers with the same weights.
        """
        checked = self._checked()
        name = "-".join(map(str, [*self.block[1:], self.group, self.tokens, int(self.hot), index]))
        file = folder / f"{name}.npy"
        if not file.exists():
            np.save(file, self._exact(checked, self.routings[index]))
        exact = np.load(file)
        return float(np.linalg.norm(y[checked].astype(np.float64) - exact) / np.linalg.norm(exact))

    def _checked(self) -> Array:
        """Tokens of which the error is computed, the first and the last among them."""
        each = self.block.slots * 3 * self.block.hidden * self.block.intermediate
        count = min(self.tokens, max(2, CHECKED_WEIGHTS // each))
        return np.unique(np.linspace(0, self.tokens - 1, count).astype(int))

    def _exact(self, tokens: Array, routing: Routing) -> Array:
        """The result of these tokens as f64, of products in f32, whose errors are far below a bf16's."""
        x = self.x()[tokens]
        y = np.zeros(x.shape)
        ids, shares = routing.ids[tokens], routing.weights[tokens]
        for expert in np.unique(ids):
            token, slot = np.nonzero(ids == expert)
            gate, up = (x[token] @ self.weight(expert, part).values().T for part in (GATE, UP))
            h = gate / (1 + np.exp(-gate)) * up
            y[token] += shares[token, slot, None] * (h @ self.weight(expert, DOWN).values().T)
        return y
