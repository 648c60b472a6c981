# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Memory for packed weights: in huge pages, which small weights share.

A weight is read once per token, from first to last byte. In pages of 4 KiB this takes up to half as long again, since
each page has to be looked up, and a small weight that is allocated by itself never gets a huge page.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap

import torch

from zenwoq._library import PACKED_ALIGNMENT, OpenWeight

_HUGE_PAGE = 1 << 21
_MAPPING = 1 << 25


class WeightMemory:
    """Hands out pieces of large private mappings.

    A mapping takes memory as it is filled, and gives it back when the last tensor in it is gone. Only one thread at a
    time may use this.
    """

    def __init__(self) -> None:
        self._mapping: mmap.mmap | None = None
        self._used = 0

    def empty(self, size: int) -> torch.Tensor:
        """A tensor ``[size]`` of uint8 zeros, at an address that is a multiple of 64.

        Raises:
            MemoryError: there is no memory.
        """
        begin = -(-self._used // PACKED_ALIGNMENT) * PACKED_ALIGNMENT
        if self._mapping is None or begin + size > len(self._mapping):
            self._mapping = _map(max(size, _MAPPING) + _HUGE_PAGE)
            begin = -ctypes.addressof(ctypes.c_char.from_buffer(self._mapping)) % _HUGE_PAGE
        self._used = begin + size
        return torch.frombuffer(self._mapping, dtype=torch.uint8, count=size, offset=begin)

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a uint8 tensor."""
        return self.empty(tensor.numel()).view(tensor.shape).copy_(tensor)

    def part(self, packed: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
        """A copy of a part of a packed weight. Raises zenwoq.Error if it cannot be one."""
        with OpenWeight(packed.data_ptr(), packed.nbytes) as weight:
            part = self.empty(weight.slice_bytes(rows, columns))
            weight.slice(rows, columns, part.data_ptr(), part.nbytes)
        return part


def _map(size: int) -> mmap.mmap:
    try:
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for {size} bytes of packed weights") from error
    with contextlib.suppress(OSError, AttributeError):  # no huge pages in this kernel
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping
