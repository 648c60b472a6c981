# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""optimize and back: the report, sharing, copies, hooks, memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import tqdm
import zenwoq.torch
from conftest import configs, model_of_real_layers, random_packed
from torchao.quantization import quantize_


def test_the_report_is_a_table():
    model = model_of_real_layers()
    quantize_(model, configs(64)["intx-group"]())
    report = zenwoq.torch.optimize(model, progress=False)
    text = str(report)
    assert "torchao intx" in text and "int4 sym per-group 64, scale bf16" in text
    assert "3 of 3 linears run on zenwoq" in text
    assert report.bytes_after < 0.55 * report.bytes_before


def test_progress_is_shown(capsys, monkeypatch):
    bars = []

    class Bar(tqdm.tqdm):
        def close(self) -> None:
            bars.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    model = model_of_real_layers()
    quantize_(model, configs(64)["intx-group"]())
    zenwoq.torch.optimize(model, inplace=False)
    assert capsys.readouterr().err == ""  # stderr is not a terminal
    report = zenwoq.torch.optimize(model, progress=True)
    assert "zenwoq: packing:   0%" in capsys.readouterr().err
    assert set(bars) == {(report.bytes_before, report.bytes_before)}


class Shared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Linear(64, 64, bias=False).bfloat16() for _ in range(3))

    def share(self) -> None:
        self.b.weight = self.a.weight  # one weight in two modules
        self.again = self.a  # one module at two places

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.c(self.b(self.a(x))))


def test_shared_weights_stay_shared():
    model = Shared()
    quantize_(model, configs(32)["intx-group"]())
    model.share()
    expected = model(torch.ones(1, 64, dtype=torch.bfloat16))
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 3
    assert model.again is model.a and model.b.packed is model.a.packed and model.c.packed is not model.a.packed
    torch.testing.assert_close(model(torch.ones(1, 64, dtype=torch.bfloat16)), expected, rtol=2e-2, atol=2e-2)
    zenwoq.torch.restore(model)
    assert model.again is model.a and model.b.weight is model.a.weight and model.c.weight is not model.a.weight


def test_a_weight_shared_with_something_else_is_left():
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(32, 64), "head": torch.nn.Linear(64, 32, bias=False)})
    quantize_(model, configs(32)["intx-group"]())
    model["embed"].weight = model["head"].weight
    report = zenwoq.torch.optimize(model, progress=False)
    assert report.left[0].result == "shares its weight with embed.weight"
    assert model["embed"].weight is model["head"].weight


def test_a_copy_leaves_the_model_alone():
    model = model_of_real_layers()
    quantize_(model, configs(64)["intx-asymmetric"]())
    before = dict(model.items())
    made, report = zenwoq.torch.optimize(model, inplace=False, progress=False)
    assert dict(model.items()) == before
    assert len(report.replaced) == 3 and all(isinstance(layer, zenwoq.torch.Linear) for layer in made.values())
    dense = zenwoq.torch.restore(made, inplace=False)
    assert all(isinstance(layer, zenwoq.torch.Linear) for layer in made.values())
    for name, layer in dense.items():
        assert type(layer) is torch.nn.Linear and layer.weight.dtype == torch.bfloat16
        assert torch.equal(layer.weight, before[name].weight.dequantize())
    x = torch.randn(2, 576, dtype=torch.bfloat16)
    first = next(iter(dense))
    dense[first](x[:, : dense[first].in_features]).sum().backward()  # dense again, so it can be trained
    assert dense[first].weight.grad is not None


def test_hooks_and_mode_are_kept():
    model = torch.nn.Sequential(torch.nn.Linear(64, 32).bfloat16()).eval()
    quantize_(model, configs(32)["intx-group"]())
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    model[0].register_forward_hook(lambda *_: seen.append(2), always_call=True)
    zenwoq.torch.optimize(model, progress=False)
    model(torch.ones(1, 64, dtype=torch.bfloat16))
    assert seen == [1, 2] and not model[0].training
    with pytest.raises(RuntimeError, match="caller expects"):
        model(torch.ones(1, 63, dtype=torch.bfloat16))
    assert seen == [1, 2, 2]


def test_restored_buffers_keep_their_type():
    """Angles of positions, for example, are wrong by radians if they are rounded to bfloat16."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64).bfloat16())
    model.register_buffer("angles", torch.rand(8), persistent=False)
    before = model.angles.clone()
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    assert zenwoq.torch.restore(model)[0].weight.dtype == torch.bfloat16
    assert model.angles.dtype == torch.float32 and torch.equal(model.angles, before)


def test_old_weights_are_freed_at_once():
    """They do not wait for a garbage collection, or all of them would be in memory together with all packed ones."""
    model = torch.nn.Sequential(torch.nn.Linear(128, 64, bias=False, dtype=torch.bfloat16))
    quantize_(model, configs(32)["intx-group"]())
    old = weakref.ref(model[0])
    gc.collect()
    gc.disable()
    try:
        zenwoq.torch.optimize(model, progress=False)
        assert old() is None
    finally:
        gc.enable()


class Odd:
    """Linears that are not as torch makes them, by the reason why they are left."""

    @staticmethod
    def good() -> torch.nn.Module:
        model = torch.nn.Sequential(torch.nn.Linear(64, 64).bfloat16())
        quantize_(model, configs(32)["intx-group"]())
        return model[0]

    @staticmethod
    def with_weight(value: object) -> torch.nn.Linear:
        layer = torch.nn.Linear(64, 64)
        del layer.weight
        layer.weight = value
        return layer

    @staticmethod
    def without(name: str) -> torch.nn.Module:
        layer = Odd.good()
        delattr(layer, name)
        return layer

    @staticmethod
    def with_bias(value: object) -> torch.nn.Module:
        layer = Odd.without("bias")
        layer.bias = value
        return layer

    class Raises(torch.nn.Linear):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features = 64, "many"

        @property
        def weight(self) -> torch.Tensor:  # type: ignore[override]
            raise NotImplementedError("weights are packed")

    class RaisesFeatures(torch.nn.Linear):
        @property
        def out_features(self) -> int:
            raise ValueError("who counts")

        @out_features.setter
        def out_features(self, value: int) -> None:
            pass

    class RaisesWhenAsked(torch.Tensor):
        @property
        def device(self) -> torch.device:  # type: ignore[override]
            raise RuntimeError("who knows")


ODD = {
    "it has no weight": lambda: Odd.without("weight"),
    "its weight is None": lambda: Odd.with_weight(None),
    "its weight has no shape yet: run the model once": lambda: torch.nn.LazyLinear(64),
    "its weight is a list, not a tensor": lambda: Odd.with_weight([1, 2]),
    "it has no weight (NotImplementedError: weights are packed)": Odd.Raises,
    "cannot be looked at (RuntimeError: who knows)": lambda: Odd.with_weight(
        torch.zeros(64, 64).as_subclass(Odd.RaisesWhenAsked)
    ),
    "cannot be looked at (ValueError: who counts)": lambda: Odd.RaisesFeatures(64, 64),
    "it has no bias, not even None": lambda: Odd.without("bias"),
    "bias is a list, not a tensor": lambda: Odd.with_bias([0.0] * 64),
    "bias has shape [1], must be [64]": lambda: Odd.with_bias(torch.zeros(1)),
    "bias is torch.float64": lambda: Odd.with_bias(torch.zeros(64, dtype=torch.float64)),
    "its bias has no shape yet: run the model once": lambda: Odd.with_bias(torch.nn.UninitializedParameter()),
    "not quantized (float32)": lambda: Odd.with_weight(torch.nn.Parameter(torch.zeros(64))),
    "on meta": lambda: torch.nn.Linear(64, 64, device="meta"),
}


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("reason", ODD)
def test_one_odd_linear_is_left_and_all_others_are_replaced(reason, inplace):
    if "who knows" in reason and not inplace:
        pytest.skip("nobody can copy it")
    model = torch.nn.Sequential(Odd.good(), ODD[reason](), Odd.good())
    done = zenwoq.torch.optimize(model, progress=False, inplace=inplace)
    made, report = (model, done) if inplace else done
    assert [layer.name for layer in report.replaced] == ["0", "2"], report
    assert [(layer.name, layer.result) for layer in report.left] == [("1", reason)]
    assert type(made[1]) is type(model[1]) and reason in str(report)


def test_features_that_a_linear_does_not_say():
    model = torch.nn.Sequential(Odd.without("out_features"), Odd.without("in_features"))
    report = zenwoq.torch.optimize(model, progress=False)
    assert [layer.shape for layer in report.replaced] == [(64, 64), (64, 64)]


@pytest.mark.parametrize("what", ["layer", "model", "wrapped layer", "wrapped model"])
def test_what_was_compiled_stays_compiled(what):
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    model = torch.nn.Sequential(Odd.good(), torch.nn.ReLU(), Odd.good())
    plain, _ = zenwoq.torch.optimize(model, inplace=False, progress=False)
    if what == "layer":
        model[0].compile(backend=backend)
    elif what == "model":
        model.compile(backend=backend)
    elif what == "wrapped layer":
        model[0] = torch.compile(model[0], backend=backend)
    run = torch.compile(model, backend=backend) if what == "wrapped model" else model
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        run(x)
        before = len(graphs)
        assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 2
        assert torch.equal(run(x), plain(x))
    assert before == 1 and len(graphs) == 2 and "zenwoq.linear" in graphs[1].code


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = (zenwoq.torch.Linear(random_packed(128, 64)) for _ in range(2))
        self.down = zenwoq.torch.Linear(random_packed(64, 128))

    def forward(self, x):
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


def test_scripts_need_blocks_apart():
    model = torch.nn.Sequential(Mlp())
    assert zenwoq.torch.optimize(model, progress=False).fused
    with pytest.raises(
        RuntimeError, match=r"cannot compile a fused Mlp: call zenwoq.torch.optimize\(model, fuse=False\)"
    ):
        torch.jit.script(model)
    assert isinstance(model[0], zenwoq.torch.GatedMLP)
    zenwoq.torch.optimize(model, progress=False, fuse=False)
    x = torch.randn(3, 64)
    assert torch.equal(torch.jit.script(model)(x), model(x))
