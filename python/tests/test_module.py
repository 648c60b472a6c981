# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The layer that replaces a quantized linear, by itself and in models that look at it."""

from __future__ import annotations

import copy

import pytest
import torch
import zenwoq.torch
from conftest import configs, model_of_real_layers, random_packed
from torchao.quantization import quantize_


def test_the_weight_has_a_shape_but_no_values():
    layer = zenwoq.torch.Linear(random_packed(64, 96))
    assert layer.weight.shape == (64, 96) and layer.weight.dtype == torch.bfloat16 and not layer.weight.is_meta
    assert layer.weight.device == layer.packed.device and layer.weight.numel() == 64 * 96
    assert layer.half().weight.dtype == torch.float16
    assert copy.deepcopy(layer).to("meta").weight.is_meta
    for compute in (lambda w: w.float(), lambda w: w.t(), lambda w: torch.nn.functional.linear(torch.ones(1, 96), w)):
        with pytest.raises(TypeError, match=r"packed, it has no values here; the layer's dequantize\(\)"):
            compute(layer.weight)
    with pytest.raises(TypeError, match="cannot be set or tied"):
        layer.weight = torch.nn.Parameter(torch.ones(64, 96))
    model = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=False, dtype=torch.float32))
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    assert model[0].weight.dtype == torch.float32


def test_transformer_layers_of_torch():
    """They ask the linears for their weights to run another kernel with them, which packed weights must prevent."""
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2).bfloat16().eval()
    quantize_(model, configs(32)["intx-group"]())
    x = torch.randn(2, 5, 64, dtype=torch.bfloat16)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        expected = model(x, src_key_padding_mask=padding)
        report = zenwoq.torch.optimize(model, progress=False)
        y = model(x, src_key_padding_mask=padding)
    assert len(report.replaced) == 4
    assert {entry.result for entry in report.left} == {
        "its weight is used by the module around it (MultiheadAttention)"
    }
    assert (y - expected).norm() / expected.norm() < 2**-6


@pytest.mark.parametrize("backend", [None, "eager"])
def test_a_model_that_asks_for_the_types_of_weights(backend):
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(3)
    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=64)
    config.feed_forward_proj, config.is_gated_act, config.dense_act_fn = "gated-gelu", True, "gelu_new"
    model = T5EncoderModel(config).bfloat16().eval()
    quantize_(model, configs(32)["intx-group"]())
    with torch.no_grad():
        expected = model(torch.arange(12)[None]).last_hidden_state
        zenwoq.torch.optimize(model, progress=False)
        run = torch.compile(model, backend=backend, fullgraph=True) if backend else model
        y = run(torch.arange(12)[None]).last_hidden_state
    assert y.dtype == torch.bfloat16
    assert (y - expected).norm() / expected.norm() < 2**-5


def test_autocast():
    layer = zenwoq.torch.Linear(random_packed(64, 96))
    x = torch.randn(3, 96)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.nn.Linear(96, 64)(x).dtype == torch.bfloat16
    assert torch.equal(y, layer(x.bfloat16()))


def test_deepcopy_and_state_dict():
    model = model_of_real_layers()
    quantize_(model, configs(64)["intx-channel"]())
    zenwoq.torch.optimize(model, progress=False)
    other = copy.deepcopy(model)
    name = next(iter(model))
    x = torch.randn(2, model[name].in_features, dtype=torch.bfloat16)
    other[name].packed.zero_()
    with pytest.raises(RuntimeError, match="wrong magic"):
        other[name](x)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other[name](x), model[name](x))
