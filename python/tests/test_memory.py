# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of packed weights: aligned, in huge pages, shared by small weights, given back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zenwoq.torch
from conftest import configs
from torchao.quantization import quantize_
from zenwoq.torch._memory import WeightMemory


def mapping_of(tensor: torch.Tensor) -> dict[str, str] | None:
    """What the system says about the mapping that a tensor lies in."""
    found: dict[str, str] | None = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            begin, end = (int(part, 16) for part in first.split("-"))
            if found:
                return found
            found = {"range": first} if begin <= tensor.data_ptr() < end else None
        elif found:
            found[first[:-1]] = rest.strip()
    return found


def test_pieces():
    memory = WeightMemory()
    pieces = [memory.empty(size) for size in (1, 100, 64, 5 << 20, 40 << 20, 3)]
    for i, piece in enumerate(pieces):
        assert piece.dtype == torch.uint8 and piece.data_ptr() % 64 == 0 and not piece.any()
        piece.fill_(i + 1)
    for i, (piece, size) in enumerate(zip(pieces, (1, 100, 64, 5 << 20, 40 << 20, 3), strict=True)):
        assert piece.numel() == size and piece.untyped_storage().nbytes() == size
        assert bool((piece == i + 1).all())
    assert pieces[1].data_ptr() - pieces[0].data_ptr() == 64  # in one mapping
    copy = memory.copy(pieces[1])
    assert torch.equal(copy, pieces[1]) and copy.data_ptr() != pieces[1].data_ptr()


def test_a_mapping_goes_with_its_last_piece():
    memory = WeightMemory()
    first, second = memory.empty(100), memory.empty(100)
    probe = torch.frombuffer(memory._mapping, dtype=torch.uint8, count=1)
    mapping = mapping_of(probe)["range"]
    del memory, first, probe
    assert mapping_of(second)["range"] == mapping
    del second
    assert mapping not in Path("/proc/self/smaps").read_text()


def test_packed_weights_are_in_huge_pages(tmp_path):
    if not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists():
        pytest.skip("this kernel has no transparent huge pages")
    model = torch.nn.Sequential(*(torch.nn.Linear(64, 64, bias=False).bfloat16() for _ in range(3)))
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    path = tmp_path / "model.safetensors"
    zenwoq.torch.save(model, path)
    with torch.device("meta"):
        empty = torch.nn.Sequential(*(torch.nn.Linear(64, 64, bias=False) for _ in range(3)))
    for each in (model, zenwoq.torch.load(empty, path)):
        assert len({mapping_of(layer.packed)["range"] for layer in each}) == 1
        assert "hg" in mapping_of(each[0].packed)["VmFlags"].split()
