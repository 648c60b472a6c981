# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The layer that replaces a quantized linear, by itself and in models that look at it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import zenwoq.torch
from conftest import configs, model_of_real_layers, random_packed
from torchao.quantization import quantize_

NEED_VALUES = {
    "float": lambda w: w.float(),
    "to": lambda w: w.to(torch.float64),
    "linear": lambda w: torch.nn.functional.linear(torch.ones(1, 96), w),
    "matmul": lambda w: torch.matmul(torch.ones(1, 96), w.t()),
    "__rmatmul__": lambda w: torch.ones(1, 64) @ w,
    "__add__": lambda w: w + torch.ones(64, 96),  # DoRA
    "__rsub__": lambda w: 1 - w,
    "__eq__": lambda w: w == 0,
    "__lt__": lambda w: w < 1,
    "__getitem__": lambda w: w[0],
    "sum": lambda w: w.sum(),
    "linalg_norm": lambda w: torch.linalg.norm(w, dim=1),
    "data_ptr": lambda w: w.data_ptr(),
    "untyped_storage": lambda w: w.untyped_storage(),
    "data": lambda w: setattr(w, "data", torch.zeros(64, 96)),
    "requires_grad": lambda w: setattr(w, "requires_grad", True),
    "requires_grad_": lambda w: w.requires_grad_(),
    "grad": lambda w: setattr(w, "grad", torch.zeros(64, 96)),
    "__array__": lambda w: w.__array__(),
    "copy_": lambda w: w.copy_(torch.zeros(64, 96)),
    "new": lambda w: w.new(3),
}

QUESTIONS = """
w.is_xpu w.is_mps w.is_leaf w.is_nested w.grad w.nbytes w.itemsize w.stride() w.is_contiguous() w.is_complex()
w.get_device() w.size(0) w.size(dim=-1) w.ndimension() w.storage_offset() w.is_signed() w.is_pinned()
w.is_inference() w.grad_fn w.is_sparse_csr w.is_mkldnn w.output_nr w.retains_grad w._version w.is_conj() w.is_neg()
w.type() w.dtype w.device w.is_cpu w.is_meta w.is_cuda w.shape w.ndim w.layout w.requires_grad w.is_sparse
w.is_quantized w.dim() w.numel() w.nelement() w.element_size() w.is_floating_point() w.T.shape w.t().shape
w.mT.shape w.data.dtype w.detach().shape w.unsqueeze(0).shape w.reshape(-1).shape w.to("cpu").device w.cpu().shape
w.to(w.dtype).shape w.contiguous().shape w.new_zeros(3) torch.zeros_like(w) torch.empty_like(w).device
w.new_empty(3).dtype torch.ones_like(w,dtype=torch.int8) torch.is_floating_point(w) torch.numel(w)
torch.is_tensor(w) torch.is_complex(w) torch.get_device(w) len(w) torch.result_type(w,torch.ones(1))
w.requires_grad_(False).shape setattr(w,"requires_grad",False) setattr(w,"grad",None) bool(w.is_shared()) w.name
w.volatile hasattr(w,"nosuch") getattr(w,"ds_id",None) hash(w)!=0 copy.deepcopy(w).shape copy.copy(w).dtype
pickle.loads(pickle.dumps(w)).shape len(f"{w}")>0 len(str(w))>0 w.is_nonexistent
"""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_weight_answers_what_needs_no_values(dtype):
    """As the weight of a dense linear does that has no gradients."""
    layer = zenwoq.torch.Linear(random_packed(64, 96), dtype=dtype)
    plain = torch.zeros(64, 96, dtype=dtype)

    def ask(question: str, w: torch.Tensor) -> object:
        try:
            return eval(question, {"torch": torch, "copy": copy, "pickle": pickle, "w": w})
        except AttributeError as error:
            return type(error)

    for question in QUESTIONS.split():
        answer, expected = ask(question, layer.weight), ask(question, plain)
        same = torch.equal(answer, expected) if isinstance(expected, torch.Tensor) else answer == expected
        assert same and type(answer) is type(expected), f"{question}: {answer}, not {expected}"
    for name in dir(torch.Tensor):  # no attribute stops code that only asks whether it is there
        if not callable(getattr(torch.Tensor, name, None)) and name not in ("imag", "_cdata"):
            assert hasattr(layer.weight, name) == hasattr(plain, name), name


def test_freezing_and_probing_code_passes_over_packed_layers():
    layer = zenwoq.torch.Linear(random_packed(64, 96), torch.zeros(64))
    model = torch.nn.Sequential(layer, torch.nn.LayerNorm(64))
    for module in model.modules():
        if hasattr(module, "weight"):
            module.weight.requires_grad = False
    model.requires_grad_(False)
    torch._dynamo.reset()

    def step(x: torch.Tensor) -> torch.Tensor:
        weight = layer.weight
        return layer(x.to(weight.dtype)) if weight.device.type == "cpu" and not weight.requires_grad else x

    y = torch.compile(step, fullgraph=True, backend="eager")(torch.ones(1, 96))
    assert torch.equal(y, layer(torch.ones(1, 96, dtype=torch.bfloat16)))


@pytest.mark.parametrize(
    "cast",
    [
        lambda m: m.double(),
        lambda m: m.half(),
        lambda m: m.type(torch.bfloat16),
        lambda m: m.type(torch.float32),
        lambda m: m.type(torch.uint8),
        lambda m: m.type("torch.FloatTensor"),
        lambda m: m.to(torch.float8_e4m3fn),
        lambda m: m.to(torch.complex64),
        lambda m: m._apply(lambda t: t.to(torch.int32)),
        lambda m: torch.nn.Module.to(m, "cpu", torch.float64),
    ],
)
def test_casts_leave_the_packed_bytes(cast):
    layer = zenwoq.torch.Linear(random_packed(64, 96), torch.zeros(64))
    before = layer.packed
    cast(torch.nn.Sequential(layer))
    assert layer.packed is before or torch.equal(layer.packed, before)
    assert layer.packed.dtype == torch.uint8 and layer.weight.dtype == layer.bias.dtype
    layer.bias = None
    x = torch.ones(2, 96)
    assert torch.equal(layer(x), zenwoq.torch.Linear(random_packed(64, 96))(x))
    assert layer.to("meta").packed.is_meta and layer.weight.is_meta


def model_of_two(flow: str = "intx-group") -> torch.nn.Module:
    torch.manual_seed(2)
    layers = (torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64, bias=False))
    model = torch.nn.Sequential(*layers).bfloat16()
    quantize_(model, configs(32)[flow]())
    return model


def test_tracers_and_script(tmp_path):
    model = model_of_two()
    zenwoq.torch.optimize(model, progress=False)
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    expected = model(x)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            graph = torch.fx.symbolic_trace(model)
            assert torch.equal(graph(x), expected)
            assert [node.target for node in graph.graph.nodes].count(torch.ops.zenwoq.linear.default) == 2
    assert torch.equal(torch.jit.trace(model, x)(x), expected)
    script = torch.jit.script(model)
    assert torch.equal(script(x), expected)
    assert [type(layer) for layer in (model[0], model[2])] == [zenwoq.torch.Linear] * 2  # it is as it was
    torch.jit.save(script, tmp_path / "script.pt")
    assert torch.equal(torch.jit.load(tmp_path / "script.pt")(x), expected)
    assert torch.equal(torch.fx.experimental.proxy_tensor.make_fx(model)(x)(x), expected)
    assert torch.equal(model(x), expected)


def test_hooks_of_accelerate():
    from accelerate import cpu_offload
    from accelerate.hooks import (
        AlignDevicesHook,
        add_hook_to_module,
        remove_hook_from_module,
        remove_hook_from_submodules,
    )

    x = torch.randn(2, 64, dtype=torch.bfloat16)
    hook = AlignDevicesHook(execution_device="cpu", io_same_device=True)
    model = model_of_two()
    add_hook_to_module(model[0], hook)
    report = zenwoq.torch.optimize(copy.deepcopy(model), progress=False)
    assert [layer.result for layer in report.left] == ["its forward is replaced (an accelerate hook?)"]
    remove_hook_from_module(model[0])
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 2
    expected = model(x)
    add_hook_to_module(model[0], hook)
    assert torch.equal(model(x), expected)
    remove_hook_from_module(model[0])
    assert torch.equal(model(x), expected) and torch.equal(copy.deepcopy(model)(x), expected)
    for buffers in (False, True):
        cpu_offload(model, offload_buffers=buffers)
        assert torch.equal(model(x), expected)
        remove_hook_from_submodules(model)


def test_the_weight_has_a_shape_but_no_values():
    layer = zenwoq.torch.Linear(random_packed(64, 96))
    assert layer.weight.shape == (64, 96) and layer.weight.dtype == torch.bfloat16 and not layer.weight.is_meta
    assert layer.weight.device == layer.packed.device and layer.weight.numel() == 64 * 96
    assert layer.half().weight.dtype == torch.float16
    assert copy.deepcopy(layer).to("meta").weight.is_meta
    for name, compute in NEED_VALUES.items():
        with pytest.raises(TypeError, match=rf"^{name}: .* packed, it has no values here; the layer's dequantize\(\)"):
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
