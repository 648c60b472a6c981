# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks that optimize fuses: which, their bits, what is not fused, and why."""

from __future__ import annotations

import copy

import pytest
import torch
import zenwoq.torch
from conftest import configs
from fused_models import FAMILIES, calls_of, fused_and_apart, logits, made, requantized
from torchao.quantization import quantize_
from zenwoq.torch import _shapes

pytestmark = pytest.mark.usefixtures("some_threads")


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


def test_calls_of_operators():
    model, apart, _ = fused_and_apart("llama")
    ids = torch.arange(3, 4)[None]
    assert calls_of(apart, ids) == {"linear": 14}
    assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}
    phi, apart, _ = fused_and_apart("phi")
    assert calls_of(apart, ids) == {"linear": 12}
    assert calls_of(phi, ids) == {"three_linears": 2, "linear": 4, "linear_fused": 2}


def blocks_apart(model: torch.nn.Module) -> dict[str, str]:
    report = zenwoq.torch.optimize(model, progress=False)
    return {block.name: block.result for block in report.apart}


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
