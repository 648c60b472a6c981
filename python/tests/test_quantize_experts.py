# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Dense and 4-bit weights of experts, packed in place: rounding, memory, what is left alone and why."""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import weakref
from pathlib import Path

import pytest
import torch
import transformers
import zenwoq.torch
from experts_models import CONFIGS, GROUP, IDS, SIZES, Routing, experts_of, logits, make, privacy_filter
from transformers.integrations.moe import use_experts_implementation
from zenwoq.torch import _optimize, _quantize_experts, _stacked
from zenwoq.torch._experts import PACKED, make_dense
from zenwoq.torch._experts_shape import WEIGHTS, is_packed
from zenwoq.torch._stacked import rounded


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_rounding_is_that_of_torchao(group, symmetric):
    from torchao.quantization import MappingType
    from torchao.quantization.quant_primitives import choose_qparams_affine, quantize_affine

    weight = torch.randn(48, 256, generator=torch.Generator().manual_seed(group)) * 0.1
    weight[3], weight[4] = 0, weight[4].abs()
    codes, scales, zeros = rounded(weight, group, symmetric)
    mapping = MappingType.SYMMETRIC if symmetric else MappingType.ASYMMETRIC
    limits = {"quant_min": -8, "quant_max": 7, "eps": 2.0**-100}
    scale, _ = choose_qparams_affine(weight, mapping, (1, group), torch.int8, keepdim=True, **limits)
    assert torch.equal(scales, scale.bfloat16())
    assert (zeros is None) == symmetric
    points = torch.zeros_like(scales, dtype=torch.int8) if zeros is None else zeros - 8
    expected = quantize_affine(weight, (1, group), scales.float(), points, torch.int8, -8, 7)
    assert (codes != expected).float().mean() < 1e-3  # TorchAO multiplies by the reciprocal
    assert (codes.int() - expected.int()).abs().max() <= 1
    steps = (
        (codes.int() - points.int().repeat_interleave(group, 1)) * scales.float().repeat_interleave(group, 1)
    ) - weight
    assert (steps.abs() <= 0.56 * scales.float().repeat_interleave(group, 1) + 2.0**-9).all()


def test_a_last_group_may_be_shorter():
    codes, scales, _ = rounded(torch.randn(4, 80), 32, True)
    assert codes.shape == (4, 80) and scales.shape == (4, 3)
    model = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SIZES, intermediate_size=80, num_local_experts=2)
    ).eval()
    zenwoq.torch.quantize_experts(model, progress=False)
    dense = zenwoq.torch.restore(model, dtype=torch.float32, inplace=False)
    assert (logits(model) - logits(dense)).abs().max() <= 0.02 * logits(dense).abs().max()


def test_dense_weights_are_freed_as_soon_as_they_are_packed(monkeypatch):
    model = make("qwen3_moe")
    module = model.model.layers[0].mlp.experts
    weights, gone = [], []
    for name in ("gate_up_proj", "down_proj"):  # in memory whose end is seen
        memory = module.get_parameter(name).detach().numpy().copy()
        weights.append(weakref.ref(memory))
        setattr(module, name, torch.nn.Parameter(torch.from_numpy(memory)))
    del memory
    pack = _quantize_experts._pack

    def watched(*given):
        report = pack(*given)
        gone.append([weight() is None for weight in weights])
        return report

    monkeypatch.setattr(_quantize_experts, "_pack", watched)
    report = zenwoq.torch.quantize_experts(model, progress=False)
    assert gone == [[True, True], [True, True]]
    assert not hasattr(module, "gate_up_proj") and report.bytes_after < 0.2 * report.bytes_before
    assert "2 of 2 modules of experts run on zenwoq" in report.summary()


def test_models_with_packed_and_other_experts_run():
    model = make("mixtral")
    first, second = experts_of(model).values()
    zenwoq.torch.quantize_experts(model.model.layers[0], progress=False)
    assert is_packed(first) and not is_packed(second)
    expected = logits(model)
    for implementation in ("eager", "batched_mm", "grouped_mm", "zenwoq"):
        model.set_experts_implementation(implementation)
        assert torch.allclose(logits(model), expected, atol=1e-3), implementation
        assert first.config._experts_implementation == "zenwoq"
    dense = zenwoq.torch.restore(model, dtype=torch.float32, inplace=False)
    dense.set_experts_implementation("eager")
    routing = Routing()
    got = routing.logits(model, IDS, replay=False)
    assert (routing.logits(dense, IDS, replay=True) - got).abs().max() <= 0.01 * got.abs().max()
    report = zenwoq.torch.optimize(model, progress=False)
    (left,) = [layer for layer in report.left if layer.stacked]
    assert left.name == "model.layers.1.mlp.experts"
    assert left.result == "not quantized (float32): zenwoq.torch.quantize_experts packs it"


class OddExperts(torch.nn.Module):
    """Experts of another make than transformers' own."""

    def __init__(self, config, **own):
        super().__init__()
        self.num_experts = 2
        self.gate_up_proj = torch.nn.Parameter(torch.randn(2, 128, 64))
        self.down_proj = torch.nn.Parameter(torch.randn(2, 64, 64))
        self.act_fn = torch.nn.SiLU()
        for name, value in own.items():
            setattr(self, name, value)

    def forward(self, x, ids, router):
        return x


def odd(**options) -> type:
    return use_experts_implementation(
        type("Odd", (OddExperts,), dict(vars(OddExperts)) | options.pop("parts", {})), **options
    )


def clamped(self, gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return self.act_fn(gate.clamp(max=100.0)) * up


def swapped(self, gate_up):
    up, gate = gate_up.chunk(2, dim=-1)
    return self.act_fn(gate) * up


def taking_turns(self, gate_up):
    return self.act_fn(gate_up[..., ::2]) * gate_up[..., 1::2]


def of_the_row(self, gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return torch.softmax(gate, -1) * up


def raising(self, gate_up):
    raise KeyError("odd")


REFUSALS = {
    "no gate": (odd(has_gate=False), {}, "its experts have no gate"),
    "norm": (odd(has_post_expert_norm=True), {}, "its experts' results are normalized before they are weighted"),
    "clamp": (odd(parts={"_apply_gate": clamped}), {}, r"its gate is none of those that are known \(Odd, SiLU\)"),
    "swapped": (odd(parts={"_apply_gate": swapped}), {}, "its gate is none of those"),
    "row": (odd(parts={"_apply_gate": of_the_row}), {}, "its gate is none of those"),
    "raises": (odd(parts={"_apply_gate": raising}), {}, r"its gate cannot be called \(KeyError: 'odd'\)"),
    "turns": (odd(parts={"_apply_gate": taking_turns}), {}, "its gate does not take gate and up from where"),
    "activation": (odd(), {"act_fn": torch.nn.Mish()}, r"its gate is none of those that are known \(Odd, Mish\)"),
    "parameter": (odd(), {"bias": torch.nn.Parameter(torch.zeros(2))}, "its parameters are bias, down_proj, gate_up"),
    "shape": (odd(), {"down_proj": torch.nn.Parameter(torch.zeros(2, 64, 32))}, r"its weights are \[2, 128, 64\] and"),
    "dimensions": (odd(), {"down_proj": torch.nn.Parameter(torch.zeros(64, 64))}, "its weights have 3 and 2 dim"),
    "forward": (odd(), {"forward": lambda x, ids, router: x}, "its forward is replaced"),
    "dtype": (odd(), {"down_proj": torch.nn.Parameter(torch.zeros(2, 64, 64).double())}, "Parameter of torch.float64"),
    "device": (odd(), {"down_proj": torch.nn.Parameter(torch.zeros(2, 64, 64, device="meta"))}, "on meta"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(REFUSALS))
def test_what_is_not_understood_stays_and_is_named(kind):
    cls, own, reason = REFUSALS[kind]
    model = torch.nn.ModuleDict({"experts": cls(CONFIGS["mixtral"](), **own)})
    before = dict(model.experts.named_parameters())
    report = zenwoq.torch.quantize_experts(model, progress=False)
    (left,) = report.left
    assert left.name == "experts" and not report.replaced
    assert re.match(reason, left.result), left.result
    assert not is_packed(model.experts) and dict(model.experts.named_parameters()) == before


@pytest.mark.parametrize(
    ("act", "activation"),
    [
        (torch.nn.ReLU(), "RELU"),
        (torch.nn.GELU(), "GELU"),
        (torch.nn.GELU(approximate="tanh"), "GELU_TANH"),
        (torch.nn.SiLU(), "SILU"),
    ],
)
def test_gates_are_known_by_what_they_compute(act, activation):
    from zenwoq.torch._experts_shape import shape_of

    module = odd()(CONFIGS["mixtral"](), act_fn=act)
    assert shape_of(module).activation.name == activation


def test_weights_that_are_not_finite_are_refused_before_anything_changes():
    model = make("mixtral")
    with torch.no_grad():
        model.model.layers[1].mlp.experts.down_proj[2, 3, 4] = torch.inf
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.experts: expert 2 has a weight that is not finite"):
        zenwoq.torch.quantize_experts(model, progress=False)
    assert model.model.layers[1].mlp.experts.gate_up_proj.shape == (4, 192, 64)
    assert is_packed(model.model.layers[0].mlp.experts)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="group_size is 16, must be 32, 64, 128"):
        zenwoq.torch.quantize_experts(make("mixtral"), group_size=16)
    with pytest.raises(TypeError, match="model is a int"):
        zenwoq.torch.quantize_experts(3)


def test_int4_tensors_of_torchao_are_packed():
    from torchao.quantization import Int4Tensor

    model = make("mixtral", torch.bfloat16)
    module = model.model.layers[0].mlp.experts
    generator = torch.Generator().manual_seed(1)
    values = {}
    for name in ("gate_up_proj", "down_proj"):
        experts, n, k = module._parameters[name].shape
        parts = (
            torch.randint(-128, 128, (experts, n, k // 2), dtype=torch.int8, generator=generator),
            (torch.rand((experts, k // GROUP, n), generator=generator) * 0.03).bfloat16(),
            (torch.rand((experts, k // GROUP, n), generator=generator) * 0.03).bfloat16(),
        )
        stacked = Int4Tensor(*parts, [1, 1, GROUP], (experts, n, k))
        module._parameters[name] = torch.nn.Parameter(stacked, requires_grad=False)
        linears = []
        for expert in range(experts):  # which are known to be read right
            linear = torch.nn.Linear(k, n, bias=False)
            one = Int4Tensor(*(part[expert] for part in parts), [1, GROUP], (n, k))
            linear.weight = torch.nn.Parameter(one, requires_grad=False)
            holder = torch.nn.Sequential(linear)
            assert zenwoq.torch.optimize(holder, progress=False).replaced
            linears.append(holder[0].dequantize(torch.float32))
        values[name] = torch.stack(linears)
    report = zenwoq.torch.optimize(model, progress=False)
    (layer,) = report.replaced
    assert layer.name == "model.layers.0.mlp.experts" and "int4" in layer.quantization, layer
    dense = zenwoq.torch.restore(model, dtype=torch.float32).model.layers[0].mlp.experts
    for name, expected in values.items():
        assert torch.equal(dense.get_parameter(name), expected), name


class Interrupter:
    """Raises KeyboardInterrupt at the n-th line that is run of the package's files, as Ctrl-C may."""

    def __init__(self, at: int):
        self.at, self.lines = at, 0

    def __call__(self, frame, event, _):
        if Path(frame.f_code.co_filename).parent.name != "torch" or "zenwoq" not in frame.f_code.co_filename:
            return None
        self.lines += event == "line"
        if self.lines == self.at and event == "line":
            raise KeyboardInterrupt
        return self


def test_an_interrupt_leaves_every_module_whole():
    """At any line: with all of its dense weights, or packed; and then the rest can be packed, too."""
    ids = IDS[:, :5]
    model = make("gpt_oss", num_local_experts=2, num_hidden_layers=1)
    module = model.model.layers[0].mlp.experts
    before, own = logits(model, ids), dict(module._parameters)
    done = copy.deepcopy(model)
    zenwoq.torch.quantize_experts(done, progress=False)
    after, at, outcomes = logits(done, ids), 0, {"dense": 0, "packed": 0}
    while True:
        at += 1
        given = copy.deepcopy(model)
        sys.settrace(Interrupter(at))
        try:
            zenwoq.torch.quantize_experts(given, progress=False)
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        module = given.model.layers[0].mlp.experts
        outcomes["packed" if is_packed(module) else "dense"] += 1
        if is_packed(module):
            assert module.down_bias is not None and not set(own) & set(module._parameters)
        else:
            assert all(torch.equal(module._parameters[name], value) for name, value in own.items()), at
            assert module.config is given.config and "gate_packed" not in module._buffers
        if at % 64 == 0 or is_packed(module):
            assert torch.equal(logits(given, ids), after if is_packed(module) else before), at
            given.load_state_dict(given.state_dict())
            zenwoq.torch.quantize_experts(given, progress=False)
            assert torch.equal(logits(given, ids), after)
    assert outcomes["dense"] > 100 and outcomes["packed"] > 3, outcomes


def test_an_interrupt_of_restore_leaves_every_module_whole():
    """At any line: packed, or with all of its dense weights; and then the rest can be restored, too."""
    ids = IDS[:, :5]
    model = make("gpt_oss", num_local_experts=2, num_hidden_layers=1)
    zenwoq.torch.quantize_experts(model, progress=False)
    expected = logits(zenwoq.torch.restore(model, dtype=torch.float32, inplace=False), ids)
    at, outcomes = 0, {"dense": 0, "packed": 0}
    while True:
        at += 1
        given = copy.deepcopy(model)
        module = given.model.layers[0].mlp.experts
        sys.settrace(Interrupter(at))
        try:
            make_dense(module, torch.float32)
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        outcomes["packed" if is_packed(module) else "dense"] += 1
        held = {*module._parameters, *module._buffers}
        assert ({*PACKED} <= held) is is_packed(module) and ({*WEIGHTS} <= held) is not is_packed(module), at
        zenwoq.torch.restore(given, dtype=torch.float32)
        assert torch.equal(logits(given, ids), expected) and module.config is given.config
    assert outcomes["packed"] > 50 and outcomes["dense"] > 2, outcomes


@pytest.mark.parametrize(
    ("raised", "seen"), [(MemoryError, MemoryError), (RuntimeError, RuntimeError), (ValueError, ValueError)]
)
def test_an_error_names_its_module_and_leaves_it_whole(monkeypatch, raised, seen):
    """Here of the last weight of the second of two modules."""
    model = make("mixtral")
    second = model.model.layers[1].mlp.experts
    own = dict(second.named_parameters())
    calls = []

    def failing(*given):
        calls.append(given)
        if len(calls) == 2 * 4 * 3:
            raise raised("all is lost")
        return rounded(*given)

    monkeypatch.setattr(_stacked, "rounded", failing)
    with pytest.raises(seen, match=r"^model\.layers\.1\.mlp\.experts: all is lost$"):
        zenwoq.torch.quantize_experts(model, progress=False)
    assert is_packed(model.model.layers[0].mlp.experts) and not is_packed(second)
    assert dict(second.named_parameters()) == own
    monkeypatch.undo()
    logits(model)
    zenwoq.torch.quantize_experts(model, progress=False)
    assert is_packed(second)


class Bar:
    """What a progress bar was told."""

    def __init__(self):
        self.total, self.counts = 0, []

    @contextlib.contextmanager
    def __call__(self, total, show):
        self.total = total
        yield self

    def update(self, n):
        self.counts.append(n)


@pytest.mark.parametrize("runs", ["optimize", "quantize_experts"])
def test_the_bar_counts_what_it_was_told(monkeypatch, runs):
    """Also of experts that stay dense, and of those that are refused."""
    bar = Bar()
    monkeypatch.setattr(_optimize if runs == "optimize" else _quantize_experts, "progress_bar", bar)
    model = make("gpt_oss")
    model.model.layers[1].mlp.experts.forward = lambda *given: given[0]
    getattr(zenwoq.torch, runs)(model, progress=True)
    weights = [p.nbytes for module in experts_of(model).values() for p in module.parameters()]
    assert bar.total == sum(bar.counts) and bar.total > 0 and len(bar.counts) >= 2
    assert bar.total >= sum(weights)


def int4_model():
    """A Mixtral whose first layer's experts TorchAO quantized."""
    from torchao.quantization import Int4Tensor

    model = make("mixtral", torch.bfloat16)
    module = model.model.layers[0].mlp.experts
    for name in ("gate_up_proj", "down_proj"):
        experts, n, k = module._parameters[name].shape
        codes = torch.randint(-128, 128, (experts, n, k // 2), dtype=torch.int8)
        scales = torch.full((experts, k // GROUP, n), 0.01).bfloat16()
        stacked = Int4Tensor(codes, scales, torch.zeros_like(scales), [1, 1, GROUP], (experts, n, k))
        module._parameters[name] = torch.nn.Parameter(stacked, requires_grad=False)
    return model


def test_a_copy_reads_the_weights_of_the_model(monkeypatch):
    """Those that are replaced anyway; dense ones are the copy's own."""
    model = int4_model()
    first, second = experts_of(model).values()
    own = dict(first._parameters)
    copied, copy_of = [], torch.Tensor.__deepcopy__

    def watched(tensor, memo):
        copied.append(type(tensor).__name__)
        return copy_of(tensor, memo)

    monkeypatch.setattr(torch.Tensor, "__deepcopy__", watched)
    made, report = zenwoq.torch.optimize(model, inplace=False, progress=False)
    assert [layer.name for layer in report.replaced] == ["model.layers.0.mlp.experts"]
    assert "Int4Tensor" not in copied
    other = made.model.layers[1].mlp.experts
    assert not {p.data_ptr() for p in second.parameters()} & {p.data_ptr() for p in other.parameters()}
    assert dict(first._parameters) == own and not is_packed(first)
    assert is_packed(made.model.layers[0].mlp.experts) and not is_packed(other)


def test_models_that_want_eager_experts_keep_them():
    model = privacy_filter()
    own = {name: dict(module._parameters) for name, module in experts_of(model).items()}
    for run in (zenwoq.torch.quantize_experts, zenwoq.torch.optimize):
        left = [layer for layer in run(model, progress=False).left if layer.stacked]
        assert [layer.name for layer in left] == list(own) and len(left) == 2
        for layer in left:
            assert re.match(r"OpenAIPrivacyFilter\w+ is to run transformers' \"eager\" experts", layer.result)
    assert {name: dict(module._parameters) for name, module in experts_of(model).items()} == own
    model.set_experts_implementation("zenwoq")
    assert len(zenwoq.torch.quantize_experts(model, progress=False).replaced) == 2
    assert all(is_packed(module) for module in experts_of(model).values())


def test_eager_experts_that_the_user_chose_are_packed():
    model = make("mixtral")
    model.set_experts_implementation("eager")
    assert len(zenwoq.torch.quantize_experts(model, progress=False).replaced) == 2
