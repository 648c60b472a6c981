# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq without torch: weights and products on NumPy arrays and buffers."""

from __future__ import annotations

import array
import copy
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import zenwoq

RNG = np.random.default_rng(7)


def weight_of(n: int = 70, k: int = 96, group: int = 32) -> tuple[zenwoq.Weight, np.ndarray]:
    codes = RNG.integers(0, 16, (n, k), dtype=np.uint8)
    scales = np.exp2(RNG.integers(-3, 1, (n, k // group))).astype(np.float32)
    return zenwoq.Weight(codes, scales, layout="u8"), (codes.astype(np.float32) - 8) * np.repeat(scales, group, axis=1)


def test_torch_is_not_imported():
    code = "import sys, zenwoq; zenwoq.cpu_info(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


def test_cpu_info():
    info = zenwoq.cpu_info()
    assert info.vendor and info.threads >= 1
    assert info.tier in ("avx512bf16", "avx2", "reference") and (info.tier == "avx512bf16" or info.tier_reason)


def test_products_are_exact_where_they_can_be():
    weight, dense = weight_of()
    x = RNG.integers(-4, 5, (5, 96)).astype(np.float32)
    expected = x @ dense.T
    bias = RNG.integers(-9, 9, 70).astype(np.float32)
    assert np.array_equal(weight.dequantize(), dense)
    assert np.array_equal(weight.dequantize(3, 66), dense[3:66])
    assert np.array_equal(zenwoq.linear(x, weight), expected)
    assert np.array_equal(zenwoq.linear(x, weight, bias), expected + bias)
    assert np.array_equal(
        zenwoq.linear(x.astype(np.float16), weight, bias.astype(np.float16), threads=1), expected + bias
    )
    out = np.zeros((5, 70), np.float32)
    assert zenwoq.linear(x.astype(ml_dtypes.bfloat16), weight, out=out) is out
    assert np.array_equal(out, expected)
    assert np.array_equal(zenwoq.linear(x[0], weight), expected[0])
    assert zenwoq.linear(np.empty((0, 96), np.float32), weight).shape == (0, 70)
    wide = np.zeros((5, 100), np.float32)
    wide[:, :96] = x
    assert np.array_equal(zenwoq.linear(wide[:, :96], weight), expected)


def test_bits_of_bfloat16():
    weight, dense = weight_of()
    x = RNG.integers(-4, 5, (2, 96)).astype(ml_dtypes.bfloat16)
    y = zenwoq.linear(x.view(np.uint16), weight, dtype="bfloat16", out_dtype="bfloat16")
    assert y.dtype == ml_dtypes.bfloat16
    assert np.array_equal(y, (x.astype(np.float32) @ dense.T).astype(ml_dtypes.bfloat16))
    out = np.zeros((2, 70), np.uint16)
    zenwoq.linear(x.view(np.uint16), weight, out=out, dtype="bfloat16")
    assert np.array_equal(out.view(ml_dtypes.bfloat16), y)
    with pytest.raises(TypeError, match="takes uint16 as the bits"):
        zenwoq.linear(x.view(np.uint16), weight)


def test_buffers():
    weight, dense = weight_of()
    y = array.array("f", bytes(4 * 70))
    zenwoq.linear(array.array("f", [1.0] * 96), weight, out=y)
    assert np.array_equal(np.array(y), dense.sum(axis=1))
    again = zenwoq.Weight.from_packed(bytes(weight.packed))
    assert (again.n, again.k, again.group_size, again.text) == (70, 96, 32, "int4 sym per-group 32, scale f32")
    assert np.array_equal(again.dequantize(), dense)


@pytest.mark.parametrize("scale", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["none", "integer", "offset"])
@pytest.mark.parametrize("layout", ["nibbles", "u8", "s8"])
def test_unpack_gives_back_what_was_packed(scale, kind, layout):
    n, k, group = 65, 41, 16
    codes = RNG.integers(0, 16, (n, k + 1), dtype=np.uint8)
    codes[:, k] = 0
    nibbles = codes[:, 0::2] | codes[:, 1::2] << 4
    signed = (((codes[:, :k] ^ 8).astype(np.int16)) - 8).astype(np.int8)
    given = {"nibbles": nibbles, "u8": np.ascontiguousarray(codes[:, :k]), "s8": signed}[layout]
    dtype = ml_dtypes.bfloat16 if scale == "bfloat16" else scale
    scales = RNG.standard_normal((n, 3)).astype(dtype)
    zeros = {"none": None, "integer": RNG.integers(0, 17, (n, 3), dtype=np.int8), "offset": scales[::-1].copy()}[kind]
    table = "twos_complement" if layout == "s8" else "minus_8"
    weight = zenwoq.Weight(given, scales, zeros, layout=layout, table=table, k=k, group_size=group)
    back = weight.unpack()
    assert np.array_equal(back[0], nibbles)
    assert np.array_equal(back[1], scales)
    assert (back[2] is None) if zeros is None else np.array_equal(back[2], zeros)


def test_slices_have_the_bytes_of_packing_that_part_and_join_again():
    codes = RNG.integers(0, 16, (200, 96), dtype=np.uint8)
    scales = RNG.random((200, 3), dtype=np.float32)
    weight = zenwoq.Weight(codes, scales, layout="u8")
    part = weight.slice(64, 200, k_begin=32)
    assert (part.n, part.k, part.group_size) == (136, 64, 32)
    packed = zenwoq.Weight(codes[64:, 32:].copy(), scales[64:, 1:].copy(), layout="u8")
    assert part.packed == packed.packed
    parts = [weight.slice(0, 64), weight.slice(64, 192), weight.slice(192)]
    assert zenwoq.Weight.join(parts).packed == weight.packed
    x = RNG.standard_normal((3, 96)).astype(np.float32)
    rows = [zenwoq.linear(x, part) for part in parts]
    assert np.array_equal(np.concatenate(rows, axis=1), zenwoq.linear(x, weight)), "rows have the bits of the whole"


def test_slices_and_joins_that_cannot_be():
    weight, _ = weight_of()
    with pytest.raises(ValueError, match=r"rows \[0, 65\) of n = 70: must be a range of whole panels of 64"):
        weight.slice(0, 65)
    with pytest.raises(ValueError, match=r"columns \[8, 96\) of k = 96, .* multiples of 32"):
        weight.slice(k_begin=8)
    with pytest.raises(ValueError, match="must not be negative"):
        weight.slice(-64)
    with pytest.raises(ValueError, match="count is 0"):
        zenwoq.Weight.join([])
    with pytest.raises(ValueError, match=r"weights\[0\] has n = 70: every one but the last"):
        zenwoq.Weight.join([weight, weight])
    with pytest.raises(ValueError, match=r"weights\[1\] has k = 64, weights\[0\] k = 96"):
        zenwoq.Weight.join([weight.slice(0, 64), weight.slice(0, 64, k_end=64)])


def test_errors_are_python_errors():
    weight, _ = weight_of()
    x = np.zeros((2, 96), np.float32)
    codes, scales = np.zeros((4, 16), np.uint8), np.ones((4, 1), np.float32)
    with pytest.raises(TypeError, match="no NumPy array, DLPack array or buffer"):
        zenwoq.linear("text", weight)
    with pytest.raises(TypeError, match="x has elements of type float64"):
        zenwoq.linear(x.astype(np.float64), weight)
    with pytest.raises(ValueError, match="last dimension must be k = 96"):
        zenwoq.linear(x[:, :95], weight)
    with pytest.raises(ValueError, match="rows must be contiguous"):
        zenwoq.linear(x[:, ::-1], weight)
    with pytest.raises(ValueError, match="out has shape"):
        zenwoq.linear(x, weight, out=np.zeros((2, 71), np.float32))
    with pytest.raises(ValueError, match="bias has shape"):
        zenwoq.linear(x, weight, np.zeros(69, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        frozen = np.zeros((2, 70), np.float32)
        frozen.flags.writeable = False
        zenwoq.linear(x, weight, out=frozen)
    with pytest.raises(ValueError, match="overlap"):
        memory = np.zeros(192, np.float32)
        zenwoq.linear(memory[:96], weight, out=memory[20:90])
    with pytest.raises(ValueError, match="code 16 at row 1, column 2"):
        bad = codes.copy()
        bad[1, 2] = 16
        zenwoq.Weight(bad, scales, layout="u8")
    with pytest.raises(ValueError, match="scale nan"):
        zenwoq.Weight(codes, scales * np.nan)
    with pytest.raises(ValueError, match="scales has shape"):
        zenwoq.Weight(codes, scales[:3])
    with pytest.raises(ValueError, match="layout 'nibble'"):
        zenwoq.Weight(codes, scales, layout="nibble")
    with pytest.raises(zenwoq.Error, match="wrong magic") as caught:
        zenwoq.Weight.from_packed(bytes(400))
    assert caught.value.status == "ZENWOQ_ERROR_BAD_PACKED"
    with pytest.raises(zenwoq.Error, match="cut short"):
        zenwoq.Weight.from_packed(bytes(weight.packed)[:-1])
    with pytest.raises(ValueError, match=r"rows \[0, 71\)"):
        weight.dequantize(0, 71)


def test_copies_and_pickles():
    weight, dense = weight_of()
    for other in (pickle.loads(pickle.dumps(weight)), copy.deepcopy(weight)):
        assert other.packed.tobytes() == weight.packed.tobytes() and other.text == weight.text
        address, own = (np.asarray(each.packed).ctypes.data for each in (weight, other))
        assert own != address and own % 64 == 0
        assert np.array_equal(other.dequantize(), dense)


def test_torch_tensors_come_back_as_such():
    torch = pytest.importorskip("torch")
    weight, dense = weight_of()
    x = torch.randint(-4, 5, (3, 96)).to(torch.bfloat16)
    y = zenwoq.linear(x, weight, torch.ones(70))
    assert isinstance(y, torch.Tensor)
    assert torch.equal(y, x.float() @ torch.from_numpy(dense).T + 1)
    with pytest.raises(TypeError, match="x"):
        zenwoq.linear(torch.zeros(96, requires_grad=True), weight)
