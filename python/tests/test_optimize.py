# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models of every flow through optimize and back: values, bounds, sharing, what is left alone."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import tqdm
import zenwoq.torch
from conftest import FLOWS, bound_of, configs, random_packed, real_weights
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    quantize_,
)
from zenwoq.torch._torchao import _unpack_blocks, unpack_opaque


def model_of_real_layers(dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """Three real linears side by side, one with a bias."""
    layers = torch.nn.ModuleDict()
    for name, weight in real_weights().items():
        n, k = weight.shape
        layer = torch.nn.Linear(k, n, bias=len(layers) == 0)
        layer.weight = torch.nn.Parameter(weight)
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(weight.mean(dim=1))
        layers[name.replace(".", "_")] = layer
    return layers.to(dtype)


def dense_of(layer: torch.nn.Linear) -> torch.Tensor:
    """The values that TorchAO computes with, in float32."""
    weight = layer.weight
    if hasattr(weight, "dequantize") and type(weight).__name__ != "Int4OpaqueTensor":
        return weight.dequantize().float()
    k = weight.shape[1]
    eye = torch.eye(k, dtype=torch.float32)
    return torch.ops.aten._weight_int4pack_mm_for_cpu(
        eye, weight.qdata, weight.block_size[1], weight.scale_and_zero.float()
    ).T


@pytest.mark.parametrize("flow", FLOWS)
def test_values_are_torchaos_and_outputs_within_the_derived_bound(flow):
    model = model_of_real_layers()
    quantize_(model, configs(64)[flow]())
    expected = {name: dense_of(layer) for name, layer in model.items()}
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 3 and not report.left
    for name, layer in model.items():
        weight = layer.weight_view()
        values = torch.from_numpy(weight.dequantize())
        if flow == "opaque":
            assert torch.equal(values, expected[name])  # ATen keeps f32
        else:
            assert torch.equal(values.to(torch.bfloat16).float(), expected[name])  # one rounding of the exact product
        for m in (1, 5):
            x = torch.randn(m, layer.in_features, dtype=torch.bfloat16)
            with torch.no_grad():
                y = layer(x.float()).double()
            exact, bound = bound_of(weight, x)
            bias = 0 if layer.bias is None else layer.bias.double()
            assert bool(((y - exact - bias).abs() <= bound + (0 if layer.bias is None else 2.0**-23 * y.abs())).all())


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
    assert capsys.readouterr().err == ""  # no terminal
    report = zenwoq.torch.optimize(model, progress=True)
    assert "zenwoq: packing:   0%" in capsys.readouterr().err
    assert set(bars) == {(report.bytes_before, report.bytes_before)}


def test_what_is_not_understood_is_left_and_named():
    model = torch.nn.ModuleDict(
        {
            name: torch.nn.Linear(64, 32).bfloat16()
            for name in ("int8", "dynamic", "float8", "dense", "odd_group", "own_forward")
        }
    )

    class Doubled(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model["own_forward"] = Doubled(64, 32).bfloat16()

    def only(name: str) -> Callable[[torch.nn.Module, str], bool]:
        return lambda _, full: full == name

    int4 = {"weight_dtype": torch.int4}
    quantize_(model, IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0)), only("int8"))
    quantize_(model, Int8DynamicActivationIntxWeightConfig(**int4, weight_granularity=PerGroup(32)), only("dynamic"))
    quantize_(model, Float8WeightOnlyConfig(), only("float8"))
    quantize_(model, IntxWeightOnlyConfig(**int4, granularity=PerGroup(4)), only("odd_group"))
    quantize_(model, IntxWeightOnlyConfig(**int4, granularity=PerGroup(32)), only("own_forward"))
    before = dict(model.items())
    report = zenwoq.torch.optimize(model, progress=False)
    assert not report.replaced and dict(model.items()) == before
    reasons = {layer.name: layer.result for layer in report.left}
    assert reasons["int8"] == "int8 values, not int4"
    assert "activations are quantized too" in reasons["dynamic"]
    assert reasons["float8"] == "Float8Tensor is not supported"
    assert reasons["dense"] == "not quantized (bfloat16)"
    assert reasons["odd_group"] == "groups of 4, not a multiple of 8"
    assert reasons["own_forward"] == "Doubled has a forward of its own"


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


def test_transformer_layers_of_torch():
    """They ask the linears for their weights: to run a kernel of their own, which packed weights must prevent."""
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


def test_autocast():
    layer = zenwoq.torch.Linear(random_packed(64, 96))
    x = torch.randn(3, 96)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.nn.Linear(96, 64)(x).dtype == torch.bfloat16
    assert torch.equal(y, layer(x.bfloat16()))


def test_affine_weights_of_older_versions():
    """torchao before 0.18 has them; what it computes with is what comes out."""
    dtypes = pytest.importorskip("torchao.dtypes")
    if not hasattr(dtypes, "to_affine_quantized_intx"):
        pytest.skip("this torchao has no affine weights any more")
    from torchao.quantization.quant_primitives import ZeroPointDomain

    def affine(mapping: MappingType, minimum: int, maximum: int) -> torch.nn.Linear:
        layer = torch.nn.Linear(64, 48, bias=False, dtype=torch.bfloat16)
        weight = dtypes.to_affine_quantized_intx(
            layer.weight.detach(), mapping, (1, 32), torch.int8, quant_min=minimum, quant_max=maximum,
            zero_point_domain=ZeroPointDomain.INT,
        )  # fmt: skip
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        return layer

    model = torch.nn.ModuleDict(
        {
            "symmetric": affine(MappingType.SYMMETRIC, -8, 7),
            "asymmetric": affine(MappingType.ASYMMETRIC, -8, 7),
            "int8": affine(MappingType.SYMMETRIC, -128, 127),
        }
    )
    expected = {name: layer.weight.dequantize() for name, layer in model.items()}
    report = zenwoq.torch.optimize(model, progress=False)
    assert [layer.name for layer in report.replaced] == ["symmetric", "asymmetric"], report
    assert report.left[0].result == "values in -128..127, not int4"
    for layer in report.replaced:
        assert torch.equal(model[layer.name].dequantize(), expected[layer.name])


def test_classes_of_other_versions_are_known_by_name():
    model = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=False).bfloat16())
    quantize_(
        model,
        IntxWeightOnlyConfig(weight_dtype=torch.int4, mapping_type=MappingType.ASYMMETRIC, granularity=PerGroup(32)),
    )
    new = model[0].weight
    expected = new.dequantize()

    class IntxUnpackedTensor(type(new)):
        """The name before 0.14, which held these attributes."""

    old = IntxUnpackedTensor(
        new.qdata, new.scale, new.zero_point, new.target_dtype, new.block_size, new.dtype, new.activation_quantization
    )
    old.int_data, old.bit_width = old.qdata, 4
    model[0].weight = torch.nn.Parameter(old, requires_grad=False)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 1, report
    assert torch.equal(model[0].dequantize(), expected)


def pack_blocks(codes: torch.Tensor, rows: int) -> torch.Tensor:
    """Bytes of codes ``[n, k]`` as ATen packs them: blocks of so many rows, written from its description."""
    n, k = codes.shape
    parts = []
    begin = 0
    while begin < n:
        step = rows if rows and n - begin >= rows else n - begin if rows else 16
        block = codes[begin : begin + step].to(torch.uint8)
        low, high = (block[: step // 2], block[step // 2 :]) if step == rows else (block[::2], block[1::2])
        parts.append((low | high << 4).t().reshape(-1))
        begin += step
    return torch.cat(parts).view(n, k // 2)


ROWS_HERE = 32 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 64


def test_layouts_of_opaque_weights():
    codes = torch.randint(0, 16, (144, 96), dtype=torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    assert torch.equal(pack_blocks(codes, ROWS_HERE), packed)
    for rows in (64, 32, 0):
        assert torch.equal(_unpack_blocks(pack_blocks(codes, rows), 144, 96, rows), codes.to(torch.uint8))
    scale_and_zero = torch.rand(3, 144, 2).bfloat16()
    assert torch.equal(unpack_opaque(packed, 144, 96, 32, scale_and_zero), codes.to(torch.uint8))


def test_opaque_weights_packed_for_another_cpu_are_refused():
    """ATen computes nonsense with them, without a word."""
    model = model_of_real_layers()
    quantize_(model, configs(64)["opaque"]())
    name, layer = next(iter(model.items()))
    n, k = layer.weight.shape
    right = layer.weight.qdata.clone()
    codes = _unpack_blocks(right, n, k, ROWS_HERE)
    for rows in {64, 32, 0} - {ROWS_HERE}:
        layer.weight.qdata.copy_(pack_blocks(codes, rows))
        with pytest.raises(ValueError, match=rf"{name}: qdata of {n} x {k} was packed for .* here and would compute"):
            zenwoq.torch.optimize(model, progress=False)
    layer.weight.qdata.copy_(right)
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 3


def test_opaque_weights_with_rows_of_zeros_are_read():
    """Their groups have one code only, and must not make the layout look wrong."""
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256, bias=False).bfloat16())
    with torch.no_grad():
        model[0].weight.sign_()  # codes 0 and 15 alone, so that all other groups are full in any layout
        model[0].weight[torch.randperm(256)[:40]] = 0
    quantize_(model, configs(32)["opaque"]())
    expected = dense_of(model[0])
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 1
    assert torch.equal(model[0].dequantize(torch.float32), expected)


def test_restored_buffers_keep_their_type():
    """Angles of positions, for example, are wrong by radians if they are rounded to bfloat16."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64).bfloat16())
    model.register_buffer("angles", torch.rand(8), persistent=False)
    before = model.angles.clone()
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    assert zenwoq.torch.restore(model)[0].weight.dtype == torch.bfloat16
    assert model.angles.dtype == torch.float32 and torch.equal(model.angles, before)


def test_damaged_scales_are_named():
    model = torch.nn.ModuleDict({"bad": torch.nn.Linear(64, 32).bfloat16()})
    quantize_(model, configs(32)["intx-group"]())
    model["bad"].weight.scale[3, 1] = float("inf")
    with pytest.raises(ValueError, match="bad: scale inf at row 3, group 1"):
        zenwoq.torch.optimize(model, progress=False)


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


def test_old_weights_are_freed_at_once():
    """Not at the next garbage collection: else all of them and all packed ones would be in memory together."""
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
