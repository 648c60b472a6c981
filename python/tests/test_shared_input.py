# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears that are called with one tensor compute in one call, and in the bits of apart whatever happens between."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from fused_models import Projections, calls_of, equal, projections, zenwoq_weight
from zenwoq.torch import Linear, _shared_input

pytestmark = pytest.mark.usefixtures("some_threads")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_projections_in_one_call(mode):
    fused, apart = projections()
    with mode():
        for shape in ((1, 64), (2, 9, 64), (0, 64)):
            x = torch.randn(shape).bfloat16()
            assert equal(fused(x), apart(x))
    # Tensors of inference mode do not count writes.
    assert calls_of(fused, x) == ({"linear": 3} if x.is_inference() else {"three_linears": 1})
    assert _shared_input._of_thread.ready is None


def test_projections_on_two_threads():
    fused, apart = projections()
    x = torch.randn(3, 64).bfloat16()
    torch.set_num_threads(2)
    with torch.no_grad():
        assert equal(fused(x), apart(x)) and calls_of(fused, x) == {"linear": 3}


def test_projections_see_what_was_written_and_replaced():
    fused, apart = projections()
    with torch.inference_mode():
        x = torch.randn(4, 64).bfloat16()
        fused.q(x)
        x.add_(1)
        assert torch.equal(fused.k(x), apart.k(x))
    with torch.no_grad():
        x = torch.randn(4, 64).bfloat16()
        fused.q(x)
        fused.k.load_state_dict(apart.v.state_dict())
        assert torch.equal(fused.k(x), apart.v(x))
        fused.q(x)
        fused.v.load_state_dict(apart.k.state_dict(), assign=True)
        assert torch.equal(fused.v(x), apart.k(x))


def test_projections_can_be_traced_symbolically():
    fused, apart = projections()
    x = torch.randn(4, 64).bfloat16()
    with torch.no_grad():
        assert equal(torch.fx.symbolic_trace(fused)(x), apart(x))


def test_projections_of_other_tensors_compute_alone():
    fused, apart = projections()
    x, other = torch.randn(2, 4, 64).bfloat16()
    with torch.no_grad():
        q = fused.q(x)
        assert torch.equal(fused.k(other), apart.k(other))
        assert torch.equal(fused.k(x), apart.k(x)) and torch.equal(fused.k(x), apart.k(x))
        assert torch.equal(q, fused.q(x))
        fused.q(x)
        x.add_(1)  # the same tensor with other values
        assert torch.equal(fused.k(x), apart.k(x)) and torch.equal(fused.v(x), apart.v(x))
    with pytest.raises(RuntimeError, match="no gradients"):
        fused.k(x.float().requires_grad_())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        wide = torch.randn(3, 64)
        fused.q(wide)
        assert fused.k(wide).dtype == torch.bfloat16
        assert equal(fused(wide), apart(wide))


def test_projections_in_threads():
    fused, apart = projections()
    inputs = [torch.randn(1 + i % 3, 64).bfloat16() for i in range(8)]
    expected = [apart(x) for x in inputs]
    barrier = threading.Barrier(8)
    wrong = []

    def work(i: int) -> None:
        barrier.wait()
        for _ in range(200):
            if not equal(fused(inputs[i]), expected[i]):
                wrong.append(i)

    with torch.no_grad():
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_one_tensor_in_two_threads():
    """Each thread takes what it has computed itself."""
    fused, apart = projections()
    x = torch.randn(3, 64).bfloat16()
    at_once = threading.Barrier(2)
    results, calls = [], []
    fused.between = lambda _: at_once.wait()

    def on_threads(work: Callable[[], object]) -> None:
        torch.set_num_threads(4)
        work()

    for work in (lambda: results.append(fused(x)), lambda: calls.append(calls_of(fused, x))):
        threads = [threading.Thread(target=on_threads, args=(work,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(equal(result, apart(x)) for result in results)
    assert calls == [{"three_linears": 1}] * 2


def test_hooks_of_projections():
    fused, apart = projections()
    x = torch.randn(3, 64).bfloat16()
    for model in (fused, apart):
        model.k.register_forward_pre_hook(lambda _, given: (given[0] * 2,))
    with torch.no_grad():
        assert equal(fused(x), apart(x))
        assert calls_of(fused, x) == {"linears": 1, "linear": 1}
    for model in (fused, apart):
        model.v.register_forward_hook(lambda *_: torch.zeros(1))
        model.q.register_forward_hook(lambda _, given, result: given[0].add_(1) if result is None else result + 1)
    with torch.no_grad():
        assert equal(fused(x), apart(x))


def test_projections_keep_nothing_alive():
    fused, _ = projections()
    gc.collect()
    gc.disable()
    try:
        with torch.no_grad():
            x = torch.randn(3, 64).bfloat16()
            results = [weakref.ref(result) for result in fused(x)]
            assert [result() for result in results] == [None] * 3
            fused.q(x)  # and no more
            ready = _shared_input._of_thread.ready
            assert len(ready[2]) == 2
            waiting = [weakref.ref(product[0]) for product in ready[2].values()]
            given = weakref.ref(x)
            del ready, x
        assert given() is None and [result() for result in waiting] == [None] * 2
        layer = weakref.ref(fused.k)
        fused.k = Linear(zenwoq_weight(64, 64, 99))
        assert layer() is None
        x = torch.randn(3, 64).bfloat16()
        apart = Projections()
        apart.k = fused.k
        assert equal(fused(x), apart(x))
    finally:
        gc.enable()


def test_an_error_between_projections():
    fused, apart = projections()

    def fail(_: torch.Tensor) -> None:
        raise KeyboardInterrupt

    x = torch.randn(3, 64).bfloat16()
    fused.between = fail
    with pytest.raises(KeyboardInterrupt):
        fused(x)
    fused.between = lambda _: None
    assert equal(fused(x + 1), apart(x + 1)) and equal(fused(x), apart(x))
