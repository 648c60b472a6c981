# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks that optimize fuses: which, their bits, what is not fused, and that all else works as with modules apart."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
import transformers
import zenwoq.torch
from conftest import configs, random_packed
from safetensors import safe_open
from safetensors.torch import save_file
from torchao.quantization import quantize_
from zenwoq.torch import ActivatedMLP, GatedMLP, Linear, _shapes, _shared_input


@pytest.fixture(autouse=True)
def some_threads():
    """On few threads, linears that share x gain nothing by it."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


SIZES = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "sdpa",
}
QKV = "q_proj, k_proj, v_proj in one call on 4 threads or more"
# By family: the class, what its config has of its own, and what is fused in each layer.
FAMILIES = {
    "llama": ("Llama", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "llama-gelu": ("Llama", {"hidden_act": "gelu", "mlp_bias": True},
                   {"attention": QKV, "gated MLP": "gelu(gate_proj) * up_proj in one call"}),
    "mistral": ("Mistral", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "qwen2": ("Qwen2", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "qwen3": ("Qwen3", {"head_dim": 32}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "smollm3": ("SmolLM3", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "gemma": ("Gemma", {"head_dim": 32, "hidden_act": "gelu_pytorch_tanh"},
              {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "gemma2": ("Gemma2", {"head_dim": 32, "attn_implementation": "eager"},
               {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "gemma3": ("Gemma3", {"head_dim": 32},
               {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "phi3": ("Phi3", {}, {"gated MLP": "silu(gate_up_proj) of its halves in one call"}),
    "phi": ("Phi", {}, {"attention": QKV, "MLP": "gelu_tanh(fc1) in one call"}),
    "gpt-neox": ("GPTNeoX", {}, {"MLP": "gelu(dense_h_to_4h) in one call"}),
}  # fmt: skip


def made(family: str, dtype: torch.dtype = torch.bfloat16, **changes: object) -> torch.nn.Module:
    """A model with random weights, biases included, whose linears are TorchAO's."""
    name, own, _ = FAMILIES[family]
    config_class = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    config = config_class(**SIZES | own | changes)
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, dtype=dtype)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model = model.eval()
    quantize_(model, configs(32)["intx-group"](), lambda m, n: isinstance(m, torch.nn.Linear) and "head" not in n)
    return model


def fused_and_apart(family: str, **changes: object) -> tuple[torch.nn.Module, torch.nn.Module, zenwoq.torch.Report]:
    model = made(family, **changes)
    apart, _ = zenwoq.torch.optimize(model, inplace=False, progress=False, fuse=False)
    return model, apart, zenwoq.torch.optimize(model, progress=False)


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids, use_cache=False).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family):
    model, apart, report = fused_and_apart(family)
    expected = FAMILIES[family][2]
    assert not report.apart and len(report.fused) == 2 * len(expected), report
    assert {block.kind: block.result for block in report.fused} == expected
    assert f"fused: 2 {report.fused[0].kind}s" in str(report)
    ids = torch.randint(3, 256, (3, 9), generator=torch.Generator().manual_seed(2))
    one, other = logits(model, ids), logits(apart, ids)
    assert (one - other).norm() <= 2**-6 * other.norm()  # of roundings to bf16, 2^-9 each
    assert dict(model.named_modules()).keys() == dict(apart.named_modules()).keys()
    assert model.state_dict().keys() == apart.state_dict().keys()
    hidden = torch.randn(5, 7, 128, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(3))
    mlp = model.get_submodule(next(block.name for block in report.fused if "MLP" in block.kind))
    with torch.inference_mode():
        whole = mlp(hidden)
        for row in range(5):
            assert torch.equal(mlp(hidden[row : row + 1]), whole[row : row + 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_without_graph_breaks(family):
    torch._dynamo.reset()
    model, _, report = fused_and_apart(family)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    for shape in ((2, 7), (3, 12)):
        ids = torch.randint(3, 256, shape)
        assert torch.equal(logits(compiled, ids), logits(model, ids))
    operator = "zenwoq.linear_fused" if report.fused[-1].kind == "MLP" else "zenwoq.gated"
    assert len(graphs) == 1 and graphs[0].count(operator) == 2


def test_inductor():
    torch._dynamo.reset()
    model, _, _ = fused_and_apart("llama")
    compiled = torch.compile(model, fullgraph=True)
    wide = copy.deepcopy(model).float()
    ids = torch.arange(3, 20)[None]
    exact = logits(wide, ids)
    assert (logits(compiled, ids) - exact).norm() <= 1.1 * (logits(model, ids) - exact).norm()


def calls_of(model: torch.nn.Module, *given: torch.Tensor) -> dict[str, int]:
    """How often each of zenwoq's operators is called."""
    counts: dict[str, int] = {}

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: object, types: object, args: object = (), kwargs: object = None) -> object:
            if func.namespace == "zenwoq":
                name = func.name().removeprefix("zenwoq::")
                counts[name] = counts.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Count():
        model(*given)
    return counts


def test_calls_of_operators():
    model, apart, _ = fused_and_apart("llama")
    ids = torch.arange(3, 4)[None]
    assert calls_of(apart, ids) == {"linear": 14}
    assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}
    phi, apart, _ = fused_and_apart("phi")
    assert calls_of(apart, ids) == {"linear": 12}
    assert calls_of(phi, ids) == {"three_linears": 2, "linear": 4, "linear_fused": 2}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gated_product_is_of_sums_in_float32(dtype):
    """The sums and the activation in float32 by other operators, their product by torch: rounded once."""
    n, k = 192, 96
    gate, up = random_packed(n, k), zenwoq_weight(n, k, 5)
    biases = torch.randn(2, n, generator=torch.Generator().manual_seed(4))
    x = torch.randn(9, k, generator=torch.Generator().manual_seed(5)).bfloat16()
    for activation in (2, 3, 4):
        g = torch.ops.zenwoq.linear_fused(x.float(), gate, biases[0], n, activation, None, [])
        u = torch.ops.zenwoq.linear(x.float(), up, biases[1], n)
        y = torch.ops.zenwoq.gated(x.to(dtype), gate, up, biases[0], biases[1], n, activation)
        assert y.dtype == dtype and torch.equal(y, (g * u).to(dtype))


def zenwoq_weight(n: int, k: int, seed: int, group: int = 32, scale: float = 1.0) -> torch.Tensor:
    """A packed weight of its own for each seed."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (n, k), dtype=torch.int8, generator=generator)
    scales = (torch.rand((n, k // group), generator=generator) * scale).to(torch.bfloat16)
    weight = zenwoq.Weight(codes, scales, layout="s8", table="twos_complement")
    return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone()


def test_halves_of_one_weight():
    n, k = 128, 96
    generator = torch.Generator().manual_seed(6)
    codes = torch.randint(-8, 8, (2 * n, k), dtype=torch.int8, generator=generator)
    scales = torch.rand((2 * n, 3), generator=generator).bfloat16()

    def packed(rows: slice) -> torch.Tensor:
        weight = zenwoq.Weight(codes[rows], scales[rows], layout="s8", table="twos_complement")
        return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone()

    bias = torch.randn(2 * n)
    x = torch.randn(3, k, dtype=torch.bfloat16)
    both = torch.ops.zenwoq.gated(x, packed(slice(None)), None, bias, None, n, 2)
    gate, up = packed(slice(n)), packed(slice(n, 2 * n))
    assert torch.equal(both, torch.ops.zenwoq.gated(x, gate, up, bias[:n], bias[n:], n, 2))


@pytest.mark.parametrize("activation", [1, 2, 3, 4])
def test_activations_are_those_of_torch(activation):
    """Within 2 ulp of float64, or 2^-33 |v| where they are small."""
    n, k = 256, 32
    packed = zenwoq_weight(n, k, 7)
    x = torch.randn(64, k, generator=torch.Generator().manual_seed(8)).bfloat16()
    v = torch.ops.zenwoq.linear(x.float(), packed, None, n).double()
    exact = {
        1: torch.nn.functional.relu,
        2: torch.nn.functional.silu,
        3: torch.nn.functional.gelu,
        4: lambda t: torch.nn.functional.gelu(t, approximate="tanh"),
    }[activation](v)
    got = torch.ops.zenwoq.linear_fused(x.float(), packed, None, n, activation, None, []).double()
    assert ((got - exact).abs() <= torch.maximum(2**-22 * exact.abs(), 2**-33 * v.abs())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_epilogues(dtype):
    n, k = 200, 96
    packed = zenwoq_weight(n, k, 9)
    x = torch.randn(2, 5, k).bfloat16()
    factor, *residuals = (torch.randn(2, 5, n).to(dtype) for _ in range(3))
    bias = torch.randn(n)
    y = torch.ops.zenwoq.linear(x.float(), packed, bias, n)
    y = (y * factor.float() + residuals[0].float()) + residuals[1].float()
    got = torch.ops.zenwoq.linear_fused(x.to(dtype), packed, bias, n, 0, factor, residuals)
    assert torch.equal(got, y.to(dtype))
    turned = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in residuals]
    assert torch.equal(torch.ops.zenwoq.linear_fused(x.to(dtype), packed, bias, n, 0, factor, turned), got)
    flat = torch.ops.zenwoq.linear_fused(
        x.to(dtype).view(10, k), packed, bias, n, 0, factor.view(10, n),
        [torch.cat((each.view(10, n), each.view(10, n)), 1)[:, :n] for each in residuals],
    )  # fmt: skip
    assert torch.equal(flat, got.view(10, n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_several_products_are_each_as_if_alone(dtype):
    k = 96
    shapes = (200, 64, 7)
    packed = [zenwoq_weight(n, k, n) for n in shapes]
    bias = [torch.randn(200), None, torch.randn(7, dtype=torch.bfloat16)]
    for rows in ((1,), (3, 5), (0,), ()):
        x = torch.randn(*rows, k).to(dtype)
        products = torch.ops.zenwoq.linears(x, packed, bias, shapes)
        for y, each, its_bias, n in zip(products, packed, bias, shapes, strict=True):
            assert torch.equal(y, torch.ops.zenwoq.linear(x, each, its_bias, n))
        of_three = [argument for each in zip(packed, bias, shapes, strict=True) for argument in each]
        assert equal(torch.ops.zenwoq.three_linears(x, *of_three), products)
    assert torch.ops.zenwoq.linears(x, [], [], []) == []


def operator_arguments(dtype: torch.dtype) -> dict[str, tuple]:
    n, k = 64, 64
    packed, x = zenwoq_weight(n, k, 10), torch.randn(3, k).to(dtype)
    bias, matrix = torch.randn(n), torch.randn(3, n).to(dtype)
    return {
        "linear_fused": (x, packed, bias, n, 3, matrix, [matrix, matrix]),
        "gated": (x, packed, packed, bias, None, n, 2),
        "linears": (x, [packed, packed], [None, bias], [n, n]),
        "three_linears": (x, packed, None, n, packed, bias, n, packed, None, n),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["linear_fused", "gated", "linears", "three_linears"])
def test_opcheck(name, dtype):
    torch.library.opcheck(getattr(torch.ops.zenwoq, name).default, operator_arguments(dtype)[name])


REFUSALS = [
    ("linear_fused", 4, 5, "activation"),
    ("linear_fused", 4, -1, "activation"),
    ("linear_fused", 5, torch.zeros(3, 65), "factor must have x's shape with n = 64"),
    ("linear_fused", 5, torch.zeros(3, 64).double(), "factor must have x's dtype"),
    ("linear_fused", 6, [torch.zeros(2, 64)], "a residual must have x's shape"),
    ("linear_fused", 6, [torch.zeros(3, 64)] * 3, "there are 3 residuals, at most 2"),
    ("linear_fused", 2, torch.zeros(63), "bias must have shape"),
    ("gated", 1, torch.zeros(7), "gate must be a contiguous 1-D uint8"),
    ("gated", 2, torch.zeros(7), "up must be a contiguous 1-D uint8"),
    ("gated", 6, 0, "activation is 0"),
    ("gated", 6, 6, "activation"),
    ("gated", 6, 2**32 + 2, "activation is 4294967298"),
    ("gated", 4, torch.zeros(64).half(), "up_bias must have gate_bias's dtype"),
    ("gated", 4, torch.zeros(65), "up_bias must have shape"),
    ("gated", 5, 0, "n is 0, must be at least 1"),
    ("linears", 1, [], "there are 0 packed weights, 2 entries of bias and 2 of n"),
    ("linears", 3, [64], "2 packed weights, 2 entries of bias and 1 of n"),
    ("linears", 3, [64, 0], "n is 0, must be at least 1"),
    ("linears", 2, [None, torch.zeros(65)], "bias must have shape"),
    ("three_linears", 7, torch.zeros(7), "packed must be a contiguous 1-D uint8"),
    ("three_linears", 5, torch.zeros(65), "bias must have shape"),
    ("three_linears", 9, 0, "n is 0, must be at least 1"),
]


@pytest.mark.parametrize("fake", [False, True])
@pytest.mark.parametrize(("name", "place", "value", "text"), REFUSALS)
def test_refusals(name, place, value, text, fake):
    given = list(operator_arguments(torch.float32)[name])
    given[place] = value
    if fake:
        given = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), given)
    with pytest.raises(RuntimeError, match=f"zenwoq::{name}: .*{text}|zenwoq::{name}: {text}"):
        getattr(torch.ops.zenwoq, name)(*given)


def test_a_pair_of_other_quantizations_is_refused():
    x = torch.randn(3, 64)
    gate, up = zenwoq_weight(64, 64, 1), zenwoq_weight(64, 64, 1, group=64)
    with pytest.raises(RuntimeError, match=r"zenwoq::gated: gate is .* up .* x has 3 rows of k = 64"):
        torch.ops.zenwoq.gated(x, gate, up, None, None, 64, 2)


def test_a_pair_of_which_one_was_replaced_is_computed_apart():
    model, apart, _ = fused_and_apart("llama")
    for each in (model, apart):
        each.model.layers[0].mlp.up_proj = Linear(zenwoq_weight(256, 128, 5, group=64))
        each.model.layers[1].mlp.up_proj = Linear(zenwoq_weight(256, 128, 5, group=32))
    x = torch.randn(2, 128).bfloat16()
    fused, alone = model.model.layers[0].mlp, apart.model.layers[0].mlp
    assert isinstance(fused, GatedMLP) and torch.equal(fused(x), alone(x))
    with pytest.raises(RuntimeError, match="x has 2 rows of k = 127"):
        model.model.layers[1].mlp(x[:, :127])


class Projections(torch.nn.Module):
    """An attention's three, and a place to do something between their calls."""

    def __init__(self):
        super().__init__()
        for name, n in (("q", 128), ("k", 64), ("v", 64)):
            linear = Linear(zenwoq_weight(n, 64, ord(name)), torch.randn(n, generator=torch.Generator().manual_seed(n)))
            setattr(self, name, linear)
        self.between = lambda x: None

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        one = self.q(x)
        self.between(one)
        return [one, self.k(x), self.v(x)]


def projections() -> tuple[Projections, Projections]:
    """Fused, and a copy that is not."""
    fused, apart = Projections(), Projections()
    report = zenwoq.torch.optimize(fused, progress=False)
    assert [block.kind for block in report.fused] == ["set of projections"]
    assert report.fused[0].result == "q, k, v in one call on 4 threads or more"
    return fused, apart


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


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


def through_pickle(model: torch.nn.Module) -> torch.nn.Module:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_copies(copied):
    model, _, _ = fused_and_apart("llama")
    other = copied(model)
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(other, ids), logits(model, ids))
    assert calls_of(other, ids) == calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}
    layers, others = ({id(m) for m in each.modules()} for each in (model, other))
    shared = other.model.layers[0].self_attn.q_proj._shared_input.layers()
    assert {id(layer) for layer in shared} <= others and not layers & others
    lone = copied(model.model.layers[0].self_attn.q_proj)  # whose others are gone
    gc.collect()
    x = torch.randn(2, 128, dtype=torch.bfloat16)
    assert torch.equal(lone(x), model.model.layers[0].self_attn.q_proj(x))
    assert lone._shared_input.layers()[1:] == [None, None]
    zenwoq.torch.restore(other)
    assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}


def test_casts():
    model, apart, _ = fused_and_apart("phi")
    for cast in (lambda m: m.half(), lambda m: m.float(), lambda m: m.to(torch.bfloat16)):
        cast(model), cast(apart)
        ids = torch.arange(3, 12)[None]
        one, other = logits(model, ids), logits(apart, ids)
        assert one.dtype == other.dtype and (one - other).norm() <= 2**-6 * other.norm()
        assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "linear_fused": 2}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model, _, _ = fused_and_apart("llama", dtype=torch.float32)
    x = torch.randn(64, 128, generator=torch.Generator().manual_seed(9))
    mlp = model.model.layers[0].mlp
    with torch.no_grad():
        with torch.autocast("cpu", dtype=dtype):
            y = mlp(x)
        assert y.dtype == dtype and torch.equal(y, mlp(x.to(dtype)))
        assert mlp(x).dtype == torch.float32


def test_no_gradients_are_lost():
    """Also where the linear behind the activation is one that has them."""
    model, _, _ = fused_and_apart("llama", dtype=torch.float32)
    mlp = model.model.layers[0].mlp
    mlp.down_proj = torch.nn.Linear(256, 128)
    with pytest.raises(RuntimeError, match="no gradients"):
        mlp(torch.randn(3, 128, requires_grad=True))


def blocks_apart(model: torch.nn.Module) -> dict[str, str]:
    report = zenwoq.torch.optimize(model, progress=False)
    return {block.name: block.result for block in report.apart}


def requantized(model: torch.nn.Module, name: str, group: int = 64) -> None:
    """Gives a linear of a model another quantization."""
    parent, _, own = name.rpartition(".")
    old = model.get_submodule(name)
    linear = torch.nn.Linear(old.in_features, old.out_features, bias=old.bias is not None).bfloat16()
    model.get_submodule(parent).register_module(own, linear)
    quantize_(linear, configs(group)["intx-group"]())


class Unknown(torch.nn.Module):
    """A block that does more than it is known to."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.act = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x))) + x


class More(Unknown):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))

    @property
    def width(self) -> int:
        return 64


class Twice(Unknown):
    """Reads the first linear once more, so its values must stay."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc1(x)
        y = self.act(x)
        return self.fc2(y * x)


class Nothing(Unknown):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class SecondHalf(torch.nn.Module):
    """Its gate is the second half."""

    def __init__(self):
        super().__init__()
        self.both, self.down, self.act = torch.nn.Linear(64, 128), torch.nn.Linear(64, 64), torch.nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.both(x).chunk(2, dim=-1)
        return self.down(a * self.act(b))


@pytest.mark.parametrize("block", [Unknown, Twice, Nothing, SecondHalf])
def test_blocks_that_are_not_understood(block):
    model = torch.nn.Sequential(block()).bfloat16()
    quantize_(model, configs(32)["intx-group"]())
    assert blocks_apart(model) == {"0": "its forward is none of those that are known"}
    assert type(model[0]) is block


class Arranged(torch.nn.Module):
    """A gated MLP in other words."""

    def __init__(self):
        super().__init__()
        self.w1, self.w2, self.w3 = (torch.nn.Linear(64, 64, bias=False) for _ in range(3))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Computes it."""
        x1 = self.w1(hidden)
        x3 = self.w3(hidden)
        hidden = x3 * torch.nn.functional.silu(x1)
        return self.w2(hidden)


class WithFunction(Arranged):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(torch.nn.functional.gelu(self.w1(x), approximate="tanh"))


class InHalves(SecondHalf):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = torch.chunk(self.both(x), 2, dim=-1)
        return self.down(up * self.act(gate))


@pytest.mark.parametrize(
    ("block", "result"),
    [
        (Arranged, "silu(w1) * w3 in one call"),
        (WithFunction, "gelu_tanh(w1) in one call"),
        (InHalves, "silu(both) of its halves in one call"),
    ],
)
def test_blocks_in_other_words(block, result):
    model = torch.nn.Sequential(block()).bfloat16().eval()
    quantize_(model, configs(32)["intx-group"]())
    apart, _ = zenwoq.torch.optimize(model, inplace=False, progress=False, fuse=False)
    report = zenwoq.torch.optimize(model, progress=False)
    assert [each.result for each in report.fused] == [result]
    x = torch.randn(5, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        one, other = model(x), apart(x)
    assert (one - other).norm() <= 2**-6 * other.norm()
    assert calls_of(model, x).keys() == {"linear", "linear_fused" if block is WithFunction else "gated"}


class Shares:
    """Forwards whose linears are called with one tensor, or look as if they were."""

    def inside(self, x):
        if x.ndim == 3:
            return self.a(x), self.norm(self.b(x)) + 1
        return self.c(x)

    def apart(self, x, y):
        a = self.a(x)
        b, c = self.b(y), self.c(y)
        return a, b, c

    def set_between(self, x):
        a = self.a(x)
        x = x + 1
        return a, self.b(x), self.c(a)

    def written_between(self, x):
        a = self.a(x)
        x.add_(1)
        return a, self.b(x)

    def given_away(self, x):
        a = self.a(x)
        self.norm(x)
        return a, self.b(x)

    def named_twice(self, x):
        return self.a(x), self.b(x), self.a.weight

    def with_options(self, x):
        return self.a(x), self.b(x, scale=2)

    def of_an_expression(self, x):
        return self.a(x), self.b(x * 1)

    def in_another_body(self, x):
        a = self.a(x)
        if a.ndim:
            return self.b(x)
        return a

    def asked_between(self, x):
        a = self.a(x).view(*x.shape[:-1], 2, -1)
        return a, self.b(x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inside", ("a", "b")),
        ("apart", ("b", "c")),
        ("set_between", ()),
        ("written_between", ()),
        ("given_away", ()),
        ("named_twice", ()),
        ("with_options", ()),
        ("of_an_expression", ()),
        ("in_another_body", ()),
        ("asked_between", ("a", "b")),
    ],
)
def test_which_linears_share_an_input(name, expected):
    assert _shapes.called_with_one_input(getattr(Shares, name), ("a", "b", "c")) == expected


def test_why_blocks_are_left():
    model = made("llama")
    first, second = model.model.layers
    requantized(model, "model.layers.0.mlp.up_proj")
    requantized(model, "model.layers.0.self_attn.k_proj")
    second.mlp.act_fn = torch.nn.Tanh()
    second.self_attn.v_proj.register_forward_hook(lambda *_: None)
    text = "int4 sym per-group {}, scale bf16"
    assert blocks_apart(copy.deepcopy(model)) == {
        "model.layers.0.mlp": f"gate_proj is {text.format(32)}, up_proj {text.format(64)}",
        "model.layers.0.self_attn": f"q_proj is {text.format(32)}, k_proj {text.format(64)}",
        "model.layers.1.mlp": "act_fn is a Tanh, none of the activations that are known",
        "model.layers.1.self_attn": "v_proj has hooks",
    }
    first.mlp.gate_proj = torch.nn.Linear(128, 256)
    second.mlp.forward = second.mlp.forward
    second.mlp.act_fn = torch.nn.SiLU()
    first.self_attn.forward = first.self_attn.forward
    report = zenwoq.torch.optimize(model, progress=False)
    assert {block.name: block.result for block in report.apart} == {
        "model.layers.0.mlp": "gate_proj is a Linear, no zenwoq.torch.Linear",
        "model.layers.0.self_attn": "its forward is replaced",
        "model.layers.1.mlp": "its forward is replaced",
        "model.layers.1.self_attn": "v_proj has hooks",
    }
    assert not report.fused
    assert "not fused: 1 attention, 1 gated MLP: its forward is replaced" in str(report)


def test_what_a_class_has_beside_its_forward_is_not_lost():
    model = torch.nn.Sequential(More()).bfloat16()
    quantize_(model, configs(32)["intx-group"]())
    assert blocks_apart(model) == {"0": "More has more than a forward: width"}
    assert model[0].width == 64


def test_halves_that_are_cut_inside_of_a_panel():
    report = zenwoq.torch.optimize(made("phi3", intermediate_size=160), progress=False)
    assert {block.result for block in report.apart} == {"gate_up_proj has 320 rows, not a multiple of 128"}


def test_modules_that_change_after_it():
    """The block computes as its modules say, and in one call again when they are as they were."""
    model, apart, _ = fused_and_apart("llama")
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    fused, other = model.model.layers[0].mlp, apart.model.layers[0].mlp
    seen = []
    with torch.no_grad():
        before = fused(x)
        for name in ("gate_proj", "up_proj", "act_fn"):
            hooks = [getattr(m, name).register_forward_hook(lambda *a, n=name: seen.append(n)) for m in (fused, other)]
            assert torch.equal(fused(x), other(x)) and seen == [name] * 2
            for hook in hooks:
                hook.remove()
            seen.clear()
            assert torch.equal(fused(x), before)
        act = fused.act_fn
        for mlp in (fused, other):
            mlp.act_fn = torch.nn.Tanh()
        assert torch.equal(fused(x), other(x))
        for mlp in (fused, other):
            mlp.act_fn = act
        assert torch.equal(fused(x), before)
        for mlp in (fused, other):
            mlp.gate_proj = torch.nn.Linear(128, 256, dtype=torch.bfloat16)
        other.gate_proj = fused.gate_proj
        assert torch.equal(fused(x), other(x))


def test_arguments_by_name():
    phi, llama = (fused_and_apart(family)[0] for family in ("phi", "llama"))
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        for mlp, name in ((phi.model.layers[0].mlp, "hidden_states"), (llama.model.layers[0].mlp, "x")):
            assert torch.equal(mlp(**{name: x}), mlp(x))
            with pytest.raises(TypeError, match=f"forward takes {name}, not other"):
                mlp(other=x)
    with pytest.raises(TypeError, match="forward takes x, not nothing"):
        llama.model.layers[0].mlp()


def test_hooks_of_a_block_are_kept():
    model = made("llama")
    seen = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    assert len(zenwoq.torch.optimize(model, progress=False).fused) == 4
    logits(model, torch.arange(3, 5)[None])
    assert seen == [1]


@pytest.mark.parametrize("family", ["llama", "phi3", "phi"])
def test_back_to_dense(family):
    model, apart, _ = fused_and_apart(family)
    classes = [type(module).__name__ for module in apart.modules()]
    dense, expected = zenwoq.torch.restore(model, inplace=False), zenwoq.torch.restore(apart)
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(dense, ids), logits(expected, ids))
    assert not any(isinstance(module, Linear | GatedMLP | ActivatedMLP) for module in dense.modules())
    assert [type(module).__name__ for module in dense.modules()] == classes
    assert not any("_fused" in name or "_shared" in name for m in dense.modules() for name in vars(m))
    assert not any(m._load_state_dict_post_hooks for m in dense.modules())
    dense(ids).logits.sum().backward()  # it can be trained
    assert calls_of(model, ids).keys() > {"linear"}
    report = zenwoq.torch.optimize(model, progress=False, fuse=False)
    assert report.blocks == [] and calls_of(model, ids).keys() == {"linear"}


@pytest.mark.parametrize("into", ["skeleton", "fused", "apart"])
@pytest.mark.parametrize("saved", ["fused", "apart", "older", "half"])
def test_files(tmp_path, saved, into):
    model, apart, _ = fused_and_apart("phi3")
    half = copy.deepcopy(model)
    zenwoq.torch.optimize(half.model.layers[0], progress=False, fuse=False)
    source = {"fused": model, "apart": apart, "older": apart, "half": half}[saved]
    path = tmp_path / "model.safetensors"
    zenwoq.torch.save(source, path)
    if saved == "older":
        forget_what_was_fused(path)
    if into == "skeleton":
        with torch.device("meta"):
            target = made("phi3").to("meta")
    else:
        target = copy.deepcopy(model if into == "fused" else apart)
    zenwoq.torch.load(target, path)
    expected = model if saved == "older" else source
    ids = torch.arange(3, 12)[None]
    assert calls_of(target, ids) == calls_of(expected, ids)
    assert torch.equal(logits(target, ids), logits(expected, ids))
    zenwoq.torch.load(target, path, fuse=False)
    assert calls_of(target, ids).keys() == {"linear"}


def forget_what_was_fused(path: object) -> None:
    """Makes a file as it was written before blocks were fused."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["zenwoq"])
    assert about.pop("fuse") is False
    save_file(tensors, path, {"zenwoq": json.dumps(about)})


@pytest.mark.parametrize("saved", ["fused", "apart", "half"])
def test_pretrained(tmp_path, saved):
    model, apart, _ = fused_and_apart("llama")
    source = apart if saved == "apart" else model
    if saved == "half":
        zenwoq.torch.optimize(model.model.layers[0], progress=False, fuse=False)
    source.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["quantization_config"].get("fuse", True)
    half = ["model.layers.1.self_attn", "model.layers.1.mlp"]
    assert written == {"fused": True, "apart": False, "half": half}[saved]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(3, 12)[None]
    assert calls_of(loaded, ids) == calls_of(source, ids)
    assert torch.equal(logits(loaded, ids), logits(source, ids))


@pytest.mark.parametrize("fuse", [True, False])
def test_from_checkpoint(tmp_path, fuse):
    from test_families import as_gptq

    torch.manual_seed(1)
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    as_gptq(transformers.LlamaForCausalLM(config).eval(), tmp_path)
    model = zenwoq.torch.from_checkpoint(tmp_path, progress=False, fuse=fuse)
    assert len(model.zenwoq_report.fused) == (4 if fuse else 0)
    expected = {"three_linears": 2, "linear": 4, "gated": 2} if fuse else {"linear": 14}
    assert calls_of(model, torch.arange(3, 12)[None]) == expected


def test_a_state_of_other_quantizations():
    """A pair that is quantized in two ways after loading falls apart, and fits again after the next."""
    model, _, _ = fused_and_apart("llama")
    state = copy.deepcopy(model.state_dict())
    other = made("llama")
    requantized(other, "model.layers.0.mlp.up_proj")
    zenwoq.torch.optimize(other, progress=False)
    model.load_state_dict(other.state_dict())
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(model, ids), logits(other, ids))
    assert calls_of(model, ids)["gated"] == 1
    model.load_state_dict(state)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.fused) == 4 and calls_of(model, ids)["gated"] == 2


def test_a_second_time_changes_nothing():
    model, _, report = fused_and_apart("llama")
    shared = model.model.layers[0].self_attn.q_proj._shared_input
    assert zenwoq.torch.optimize(model, progress=False).blocks == report.blocks
    assert model.model.layers[0].self_attn.q_proj._shared_input is shared


def test_a_compiled_block_stays_compiled():
    torch._dynamo.reset()
    model = made("llama")
    zenwoq.torch.optimize(model, progress=False, fuse=False)
    mlp = model.model.layers[0].mlp
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    mlp.compile(backend=backend)
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        mlp(x)
        zenwoq.torch.optimize(model, progress=False)
        y = mlp(x)
        assert torch.equal(y, copy.deepcopy(mlp).forward(x))
    assert len(graphs) == 2 and "zenwoq.gated" in graphs[1] and "zenwoq.gated" not in graphs[0]


def test_offloaded_modules():
    from accelerate import cpu_offload

    model, _, _ = fused_and_apart("llama")
    ids = torch.arange(3, 12)[None]
    apart = zenwoq.torch.optimize(model, inplace=False, progress=False, fuse=False)[0]
    expected = logits(apart, ids)
    cpu_offload(model, offload_buffers=True)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected)


def test_export_and_tracers():
    model, _, _ = fused_and_apart("llama")
    mlp = model.model.layers[0].mlp
    x = torch.randn(4, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = mlp(x)
        rows = torch.export.Dim("rows", max=64)
        program = torch.export.export(mlp, (x,), dynamic_shapes=({0: rows},))
        assert torch.equal(program.module()(x), expected)
        for traced in (torch.fx.symbolic_trace(mlp), torch.jit.trace(mlp, x)):
            assert torch.equal(traced(x), expected)
        fused, apart = projections()
        y = torch.randn(3, 64)
        for traced in (
            torch.jit.trace(fused, y, check_trace=False),
            torch.fx.experimental.proxy_tensor.make_fx(fused)(y),
        ):
            z = torch.randn(3, 64)
            assert equal(list(traced(z)), apart(z))
        script = torch.jit.script(fused.q)
        assert torch.equal(script(y), apart.q(y))


def test_generation_is_that_of_apart():
    model, apart, _ = fused_and_apart("qwen2", dtype=torch.float32)
    ids = torch.arange(3, 12)[None]
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    assert torch.equal(model.generate(ids, **options), apart.generate(ids, **options))
