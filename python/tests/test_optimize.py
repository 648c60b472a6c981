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
from conftest import configs, model_of_real_layers
from torchao.quantization import quantize_


def test_the_report_is_a_table():
    model = model_of_real_layers()
    quantize_(model, configs(64)["intx-group"]())
    report = zenwoq.torch.optimize(model, progress=False)
    text = str(report)
    assert "torchao int4 intx, group 64" in text and "int4 sym per-group 64, scale bf16" in text
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
