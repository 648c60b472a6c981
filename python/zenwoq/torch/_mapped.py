# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Packed weights in private mappings of files, whose rows can be used where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from zenwoq import _library
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._module import Linear


class Mapped:
    """Packed weights in private mappings of files, whose rows can be used where they lie.

    Args:
        model: the weights of all of its layers.
        taken: those layers of which rows that lie side by side will be taken.
    """

    def __init__(self, model: torch.nn.Module, taken: Iterable[Linear]):
        self._mappings = list(_private_mappings())
        used = Counter(m.packed.data_ptr() for m in model.modules() if isinstance(m, Linear))
        by_rows = Counter(layer.packed.data_ptr() for layer in taken)
        self._free = {address for address, count in by_rows.items() if used[address] == count}
        self._made: dict[int, torch.Tensor] = {}  # by the address of the whole

    def rows(self, packed: torch.Tensor, rows: tuple[int, int], k: int, memory: WeightMemory) -> torch.Tensor:
        """Rows of a packed weight: of a mapped one in its pages, after which it is none; of others in a copy."""
        address = packed.data_ptr()
        if address not in self._made:
            begin, end = address, address + packed.nbytes
            if address in self._free and any(a <= begin and end <= b for a, b in self._mappings):
                at, size = _library.cut(address, packed.nbytes, *rows)
                self._made[address] = packed[at - address : at - address + size]
            else:
                self._made[address] = memory.part(packed, rows, (0, k))
        return self._made[address]


def _private_mappings() -> Iterator[tuple[int, int]]:
    """Where this process has files mapped that it may write to without changing them."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    last = (0, 0)
    for line in lines:
        addresses, permissions, _, _, inode, *_ = line.split(maxsplit=5)
        if not permissions.startswith("rw-p") or inode == "0":
            continue
        begin, end = (int(address, 16) for address in addresses.split("-"))
        if begin != last[1]:  # neighbours are one
            yield last
            last = begin, end
        else:
            last = last[0], end
    yield last
