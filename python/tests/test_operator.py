# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The torch operators: bits, shapes, refusals, torch's own checks of operators, forked workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import zenwoq
import zenwoq.torch
from conftest import random_packed

N, K = 200, 96
linear = torch.ops.zenwoq.linear.default
linear_out = torch.ops.zenwoq.linear_out.default


@pytest.fixture(scope="module")
def packed() -> torch.Tensor:
    return random_packed(N, K)


def bits(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().view(torch.uint8).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_opcheck(packed, dtype):
    for shape in ((3, K), (2, 3, K), (K,), (0, K)):
        for bias in (None, torch.randn(N), torch.randn(N, dtype=torch.bfloat16)):
            x = torch.randn(shape).to(dtype)
            out = torch.empty((*shape[:-1], N), dtype=dtype)
            torch.library.opcheck(linear, (x, packed, bias, N))
            torch.library.opcheck(linear_out, (x, packed, bias, N), {"out": out})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_batch_and_threads(dtype):
    n, k = 1024, 1152  # large enough to be cut into tasks
    packed = random_packed(n, k)
    x = torch.randn(37, k).to(dtype)
    bias = torch.randn(n, dtype=torch.bfloat16)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            whole = linear(x, packed, bias, n)
            single = torch.cat([linear(x[i : i + 1], packed, bias, n) for i in range(37)])
            results += [bits(whole), bits(single)]
    finally:
        torch.set_num_threads(before)
    # The bits are also those of the C library on its own threads.
    weight = zenwoq.Weight.from_packed(packed)
    numpy_result = zenwoq.linear(x, weight, bias, out=torch.empty(37, n, dtype=dtype))
    for result in results:
        assert np.array_equal(result, bits(numpy_result))


def test_any_strides_and_alignment(packed):
    x = torch.randn(6, K, dtype=torch.bfloat16)
    expected = linear(x, packed, None, N)
    wide = torch.zeros(6, K + 5, dtype=torch.bfloat16)
    wide[:, :K] = x
    assert torch.equal(linear(wide[:, :K], packed, None, N), expected)
    assert torch.equal(linear(x.t().contiguous().t(), packed, None, N), expected)
    assert torch.equal(linear(x.view(2, 3, K).transpose(0, 1), packed, None, N), expected.view(2, 3, N).transpose(0, 1))
    assert torch.equal(linear(x[:1].expand(6, K), packed, None, N), expected[:1].expand(6, N))
    for shift in (1, 8, 63):
        memory = torch.empty(packed.numel() + 64, dtype=torch.uint8)
        memory[shift : shift + packed.numel()] = packed
        assert torch.equal(linear(x, memory[shift : shift + packed.numel()], None, N), expected)
    out = torch.empty(N, 6, dtype=torch.bfloat16).t()
    linear_out(x, packed, None, N, out=out)
    assert torch.equal(out, expected)
    bias = torch.randn(2 * N)[::2]
    assert torch.equal(linear(x, packed, bias, N), linear(x, packed, bias.contiguous(), N))


def test_meta_tensors(packed):
    y = linear(torch.empty(2, 5, K, device="meta"), packed.to("meta"), None, N)
    assert y.is_meta and y.shape == (2, 5, N)


def test_fake_kernels_refuse_what_the_real_ones_do(packed):
    x = torch.empty(2, K, device="meta")
    meta = packed.to("meta")
    out = torch.empty(2, N, device="meta")

    def refuses(text: str, *arguments: object, **options: object) -> None:
        with pytest.raises(RuntimeError, match=text):
            (linear_out if options else linear)(*arguments, **options)

    refuses("packed is on cpu, x on meta", x, packed, None, N)
    refuses("packed is on meta, x on cpu", torch.ones(2, K), meta, None, N)
    refuses("bias is on cpu, x on meta", x, meta, torch.zeros(N), N)
    refuses("out is on cpu, x on meta", x, meta, None, N, out=torch.empty(2, N))
    refuses("out must be float32", x, meta, None, N, out=out.int())
    refuses("out must have x's shape", x, meta, None, N, out=out[:1])
    refuses("contiguous 1-D uint8", x, meta[::2], None, N)
    refuses("x must be float32", x.double(), meta, None, N)
    refuses("bias must be float32", x, meta, torch.zeros(N, device="meta", dtype=torch.int32), N)
    refuses("n is 0", x, meta, None, 0)
    refuses("too few for it", x, meta, None, 2**40)
    refuses("contiguous 1-D uint8", x, meta[:0], None, N)


def test_refusals(packed):
    x = torch.randn(2, K)

    def refuses(text: str, *arguments: object) -> None:
        with pytest.raises(RuntimeError, match=text):
            linear(*arguments)

    refuses("x must be float32, float16 or bfloat16", x.double(), packed, None, N)
    refuses("caller expects n = 200, k = 95; x has 2 rows of k = 95 values", x[:, :95], packed, None, N)
    refuses("caller expects n = 199, k = 96", x, packed, None, N - 1)
    refuses("n is 0", x, packed, None, 0)
    refuses("contiguous 1-D uint8", x, packed.float(), None, N)
    refuses("contiguous 1-D uint8", x, packed[::2], None, N)
    refuses("bias must have shape", x, packed, torch.zeros(N + 1), N)
    refuses("bias must be float32", x, packed, torch.zeros(N, dtype=torch.int32), N)
    refuses("at least one dimension", torch.tensor(1.0), packed, None, N)
    refuses("cut short", x, packed[:-1], None, N)
    refuses("contiguous 1-D uint8", x, packed[:0], None, N)
    for position in (0, 9, 20, 100, 255):
        damaged = packed.clone()
        damaged[position] ^= 0x40
        refuses("ZENWOQ_ERROR_BAD_PACKED", x, damaged, None, N)
    for n in (2**31, 2**62):
        refuses(f"n is {n}, packed has", x, packed, None, n)
    refuses(r"no memory for an output whose last dimension is n = 200", x[:1].expand(2**52, K)[:, :0], packed, None, N)
    with pytest.raises(RuntimeError, match="out is expanded along dimension 0"):
        linear_out(x, packed, None, N, out=torch.empty(1, N).expand(2, N))
    shared = torch.randn(2 * N)
    with pytest.raises(RuntimeError, match=r"overlaps bias at"):
        linear_out(x[:1], packed, shared[:N], N, out=shared[N - 1 : 2 * N - 1].view(1, N))
    with pytest.raises(RuntimeError, match="out must have x's shape"):
        linear_out(x, packed, None, N, out=torch.empty(3, N))


def test_gradients_are_refused(packed):
    module = zenwoq.torch.Linear(packed, torch.randn(N)).train()
    x = torch.randn(2, K, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"computes no gradients: call the model under torch.no_grad\(\)"):
        module(x)
    with torch.no_grad():
        assert not module(x).requires_grad
    assert module(x.detach()).shape == (2, N)  # training mode alone is no reason to refuse
    assert not module.bias.requires_grad


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_bits_are_eager_bits(packed, backend):
    torch._dynamo.reset()
    module = torch.nn.Sequential(zenwoq.torch.Linear(packed, torch.randn(N)), torch.nn.ReLU())
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for shape in ((1, K), (5, K), (2, 7, K)):
            x = torch.randn(shape, dtype=torch.bfloat16)
            assert np.array_equal(bits(compiled(x)), bits(module(x)))


def test_export(packed):
    module = zenwoq.torch.Linear(packed)
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(module, (torch.randn(4, K),), dynamic_shapes=({0: batch},))
    x = torch.randn(9, K)
    assert torch.equal(program.module()(x), module(x))


def test_forked_child(packed):
    big = random_packed(1024, 1024)
    x = torch.randn(40, 1024)
    torch.set_num_threads(2)
    expected = linear(x, big, None, 1024)  # torch's threads exist now, but will not in a child
    child = os.fork()
    if child == 0:
        # Compared by NumPy, because torch's own parallel loops hang here.
        same = np.array_equal(bits(linear(x, big, None, 1024)), bits(expected))
        kernel = linear(x[:3], big, None, 1024).shape == (3, 1024)  # uses a kernel that the parent may not have made
        threads = len(os.listdir("/proc/self/task")) > 1 or len(os.sched_getaffinity(0)) == 1  # the library's own
        os._exit(0 if same and kernel and threads else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_forks_beside_threads():
    n = 2560
    big, bias = random_packed(n, 32), torch.randn(n, dtype=torch.bfloat16)  # a bias that is converted into scratch
    x = torch.randn(1, 32, dtype=torch.bfloat16)
    expected = bits(linear(x, big, bias, n))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            linear(x, big, bias, n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for i in range(100):
            child = os.fork()
            if child == 0:
                signal.alarm(120)
                os._exit(0 if np.array_equal(bits(linear(x, big, bias, n)), expected) else 1)
            assert os.waitpid(child, 0)[1] == 0, f"fork {i}"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


FIRST_CALL_IN_A_CHILD = """
import os, sys, torch, zenwoq.torch
packed = torch.load(sys.argv[1])
torch.set_num_threads(2)
torch.ones(1 << 22).sum()  # torch's threads exist now, and the operator has not been called
child = os.fork()
if child == 0:
    torch.ops.zenwoq.linear.default(torch.empty(40, 1024), packed, None, 1024)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_first_call_in_a_forked_child(tmp_path):
    torch.save(random_packed(1024, 1024), tmp_path / "packed.pt")
    command = [sys.executable, "-c", FIRST_CALL_IN_A_CHILD, str(tmp_path / "packed.pt")]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0


def test_data_loader_workers(packed):
    class Set(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> torch.Tensor:
            return linear(torch.full((1, K), float(i)), packed, None, N)

    rows = list(torch.utils.data.DataLoader(Set(), num_workers=2, batch_size=None))
    for i, row in enumerate(rows):
        assert torch.equal(row, linear(torch.full((1, K), float(i)), packed, None, N))
