# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""TorchAO's weights: values and error bounds of every flow, other versions, layouts, what is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import zenwoq.torch
from conftest import FLOWS, bound_of, configs, dense_of, model_of_real_layers
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    quantize_,
)


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


def test_affine_weights_of_older_versions():
    """torchao before 0.18 has them; the values that it computes with come out."""
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
        """The class's name before 0.14, with the attributes that it had."""

    old = IntxUnpackedTensor(
        new.qdata, new.scale, new.zero_point, new.target_dtype, new.block_size, new.dtype, new.activation_quantization
    )
    old.int_data, old.bit_width = old.qdata, 4
    model[0].weight = torch.nn.Parameter(old, requires_grad=False)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 1, report
    assert torch.equal(model[0].dequantize(), expected)


def test_damaged_scales_are_named():
    model = torch.nn.ModuleDict({"bad": torch.nn.Linear(64, 32).bfloat16()})
    quantize_(model, configs(32)["intx-group"]())
    model["bad"].weight.scale[3, 1] = float("inf")
    with pytest.raises(ValueError, match="bad: scale inf at row 3, group 1"):
        zenwoq.torch.optimize(model, progress=False)


def pack_blocks(codes: torch.Tensor, rows: int) -> torch.Tensor:
    """Codes ``[n, k]`` as the bytes that ATen packs, in blocks of `rows` rows; written from its description."""
    n, k = codes.shape
    parts = []
    begin = 0
    while begin < n:
        step = min(rows, n - begin)
        block = codes[begin : begin + step].to(torch.uint8)
        low, high = (block[: step // 2], block[step // 2 :]) if step == rows else (block[::2], block[1::2])
        parts.append((low | high << 4).t().reshape(-1))
        begin += step
    return torch.cat(parts).view(n, k // 2)


ROWS_HERE = 32 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 64


def test_opaque_weights_packed_for_another_cpu_are_refused():
    """ATen computes nonsense with them and reports nothing."""
    model = model_of_real_layers()
    quantize_(model, configs(64)["opaque"]())
    name, layer = next(iter(model.items()))
    right = layer.weight.qdata.clone()
    scale, zero = (layer.weight.scale_and_zero[:, :, i].t().float().repeat_interleave(64, dim=1) for i in (0, 1))
    codes = ((dense_of(layer) - zero) / scale + 8).round().to(torch.int32)
    assert torch.equal(pack_blocks(codes, ROWS_HERE), right)
    for rows in {64, 32} - {ROWS_HERE}:
        layer.weight.qdata.copy_(pack_blocks(codes, rows))
        with pytest.raises(ValueError, match=rf"{name}: was packed for .*, not for "):
            zenwoq.torch.optimize(model, progress=False)
    layer.weight.qdata.copy_(right)
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 3


def test_opaque_layouts_that_aten_does_not_read_are_noticed(monkeypatch):
    """A torch that packs otherwise than this one: its kernel says so."""
    model = torch.nn.ModuleDict({"other": torch.nn.Linear(64, 64).bfloat16()})
    quantize_(model, configs(32)["opaque"]())
    kernel = torch.ops.aten._weight_int4pack_mm_for_cpu
    monkeypatch.setattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu", lambda x, *rest: kernel(x.roll(1, 1), *rest))
    with pytest.raises(ValueError, match="other: qdata of 64 x 64 is in no layout that is known of ATen"):
        zenwoq.torch.optimize(model, progress=False)


def test_opaque_weights_with_rows_of_zeros_are_read():
    """Their groups have one code only, and must not make the layout look wrong."""
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256, bias=False).bfloat16())
    with torch.no_grad():
        model[0].weight.sign_()  # only codes 0 and 15, so that all other groups are full in any layout
        model[0].weight[torch.randperm(256)[:40]] = 0
    quantize_(model, configs(32)["opaque"]())
    expected = dense_of(model[0])
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 1
    assert torch.equal(model[0].dequantize(torch.float32), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_opaque_zeros_of_every_type_are_read(dtype):
    """In float16, the scale of zeros is subnormal, and so is what ATen computes with it."""
    torch.manual_seed(6)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False, dtype=dtype))
    with torch.no_grad():
        model[0].weight[5:9] = 0
        model[0].weight[20:, 32:] = 0
    quantize_(model, configs(32)["opaque"]())
    expected = dense_of(model[0])
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 1
    assert torch.equal(model[0].dequantize(torch.float32), expected)


@pytest.mark.parametrize(("kind", "value"), [(0, float("nan")), (1, float("-inf"))])
def test_opaque_scales_that_are_not_finite_are_named(kind, value):
    model = torch.nn.ModuleDict({"bad": torch.nn.Linear(64, 32).bfloat16()})
    quantize_(model, configs(32)["opaque"]())
    model["bad"].weight.scale_and_zero[1, 3, kind] = value
    with pytest.raises(ValueError, match=rf"bad: {('scale', 'offset')[kind]} {value} at row 3, group 1"):
        zenwoq.torch.optimize(model, progress=False)


def test_opaque_scales_whose_products_overflow_are_read():
    model = torch.nn.ModuleDict({"large": torch.nn.Linear(64, 32).bfloat16()})
    quantize_(model, configs(32)["opaque"]())
    model["large"].weight.scale_and_zero[0, 0, 0] = 3e38
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 1
