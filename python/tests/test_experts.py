# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts in 4 bits: the operator, models of transformers with packed experts, files of them."""

from __future__ import annotations

import copy
import json
import pickle
import re
import weakref
from pathlib import Path

import pytest
import torch
import transformers
import zenwoq.torch
from safetensors.torch import load_file, save_file
from test_families import words
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.integrations.moe import use_experts_implementation
from zenwoq.torch import _quantize_experts
from zenwoq.torch._experts import PACKED, is_packed
from zenwoq.torch._quantize_experts import rounded

GROUP = 32
IDS = torch.arange(24)[None] * 5 % 128
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 128,
    "tie_word_embeddings": False,
}  # fmt: skip
CONFIGS = {
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, intermediate_size=96, num_local_experts=4),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, intermediate_size=96, moe_intermediate_size=64, num_experts=8, num_experts_per_tok=4, head_dim=32
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **SIZES, intermediate_size=64, num_local_experts=4, num_experts_per_tok=2, head_dim=32,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "deepseek_v2": lambda: transformers.DeepseekV2Config(
        **SIZES, intermediate_size=96, moe_intermediate_size=64, n_routed_experts=8, num_experts_per_tok=2,
        n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=32, q_lora_rank=None, qk_nope_head_dim=32,
        qk_rope_head_dim=32, v_head_dim=32, topk_method="greedy",
    ),
}  # fmt: skip
every_model = pytest.mark.parametrize("kind", list(CONFIGS))


def make(kind: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A tiny model with random weights that make logits differ."""
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=dtype).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def experts_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if name.endswith(".experts")}


def logits(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits.float()


def dense_weights(module: torch.nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gate, up and down ``[experts, n, k]`` in float64, and their biases, of a dense module."""
    weights = [module.gate_up_proj.detach().double(), module.down_proj.detach().double()]
    if module.is_transposed:
        weights = [weight.transpose(1, 2) for weight in weights]
    experts, hidden, inner = weights[1].shape
    biases = [torch.zeros(experts, 2 * inner).double(), torch.zeros(experts, hidden).double()]
    if module.has_bias:
        biases = [module.gate_up_proj_bias.detach().double(), module.down_proj_bias.detach().double()]
    split = (lambda t: (t[:, ::2], t[:, 1::2])) if not module.is_concatenated else (lambda t: t.chunk(2, 1))
    return [*split(weights[0]), weights[1]], [*split(biases[0]), biases[1]]


def sizes_of(packed: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The sizes of what a product adds up: |weight|, or with zero points of codes and zeros apart."""
    sizes = []
    for row in packed:
        _, scales, zeros = zenwoq.Weight.from_packed(row).unpack()
        shift = 0.0 * scales if zeros is None else scales.astype("float64") * (8.0 - zeros)
        wide = torch.from_numpy(abs(shift).astype("float64")).repeat_interleave(GROUP, 1)
        sizes.append(2 * wide[:, : weight.shape[2]])
    return weight.abs() + torch.stack(sizes)


def expected_of(
    module: torch.nn.Module, packed: torch.nn.Module, x: torch.Tensor, ids: torch.Tensor, router: torch.Tensor
):
    """What a dense module computes of rows that are exact in bfloat16, in float64, and how far float32 may be off.

    Sums of k products have an error of (k + groups) * 2^-24 of the sum of sizes; no gate that is known is steeper than
    1.2; what is between the products is rounded to bfloat16, by 2^-9 of itself.
    """
    (gate, up, down), (gate_bias, up_bias, down_bias) = dense_weights(module)
    gate_sizes, up_sizes, down_sizes = (
        sizes_of(packed.get_buffer(name), weight) for name, weight in zip(PACKED, (gate, up, down), strict=True)
    )
    rows = x.double()
    results, bounds = torch.zeros_like(rows), torch.zeros_like(rows)
    hidden, inner = gate.shape[2], gate.shape[1]
    of_hidden, of_inner = ((k + 2 * -(-k // GROUP) + 16) * 2.0**-24 for k in (hidden, inner))
    is_oai = "GptOss" in type(module).__name__
    for token in range(len(rows)):
        for slot in range(ids.shape[1]):
            e, weight = int(ids[token, slot]), float(router[token, slot])
            if not 0 <= e < len(gate):
                continue
            g, u = gate[e] @ rows[token] + gate_bias[e], up[e] @ rows[token] + up_bias[e]
            of_g, of_u = (
                of_hidden * (w[e] @ rows[token].abs() + b[e].abs())
                for w, b in ((gate_sizes, gate_bias), (up_sizes, up_bias))
            )
            if is_oai:
                g, u = g.clamp(max=7), u.clamp(-7, 7) + 1
                active = g * torch.sigmoid(1.702 * g)
            else:
                active = torch.nn.functional.silu(g)
            h = active * u
            of_h = 1.2 * of_g * u.abs() + (active.abs() + 1.2 * of_g) * of_u + 2.0**-22 * h.abs()
            of_h = of_h + 2.0**-9 * (h.abs() + of_h)
            y = down[e] @ h + down_bias[e]
            sizes = down_sizes[e] @ (h.abs() + of_h) + down_bias[e].abs()
            results[token] += weight * y
            bounds[token] += abs(weight) * (down[e].abs() @ of_h + of_inner * sizes + 2.0**-22 * sizes)
    return results, bounds


def routed(module: torch.nn.Module, tokens: int, slots: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows that are exact in bfloat16, ids of different experts, weights."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, 64, generator=generator).bfloat16().float()
    count = len(module.get_buffer("gate_packed"))
    ids = torch.stack([torch.randperm(count, generator=generator)[:slots] for _ in range(tokens)])
    return x, ids, torch.rand(tokens, slots, generator=generator)


@every_model
@pytest.mark.parametrize("symmetric", [True, False])
def test_values_are_those_of_the_dequantised_weights(kind, symmetric):
    model = make(kind)
    report = zenwoq.torch.quantize_experts(model, group_size=GROUP, symmetric=symmetric, progress=False)
    assert len(report.replaced) == len(experts_of(model)) and not report.left, report
    dense = zenwoq.torch.restore(model, dtype=torch.float32, inplace=False)
    for name, module in experts_of(model).items():
        x, ids, router = routed(module, 9, 2)
        ids[3, 0], ids[4, 1], ids[5] = -1, module.num_experts, torch.tensor([module.num_experts, -7])
        expected, bound = expected_of(dense.get_submodule(name), module, x, ids, router)
        with torch.no_grad():
            found = module(x, ids, router)
        assert ((found - expected).abs() <= bound).all(), name
        assert (found[5] == 0).all() and expected.abs().max() > 20 * bound.max()


@every_model
def test_a_token_alone_has_the_bits_that_it_has_in_a_batch(kind):
    model = make(kind, torch.bfloat16)
    zenwoq.torch.quantize_experts(model, progress=False)
    for module in experts_of(model).values():
        x, ids, router = routed(module, 33, 2)
        with torch.no_grad():
            for rows in (x, x.bfloat16(), x.half()):
                whole = module(rows, ids, router)
                assert whole.dtype == rows.dtype
                assert torch.equal(module(rows, ids.int(), router), whole)
                for token in (0, 7, 32):
                    one = slice(token, token + 1)
                    assert torch.equal(module(rows[one], ids[one], router[one]), whole[one])


class Routing:
    """What the experts of a model were given: which of them, with which weights. A near tie may go either way."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def logits(self, model: torch.nn.Module, ids: torch.Tensor, replay: bool) -> torch.Tensor:
        """Of one run of the model, whose routing is kept, or, to replay it, is the one that was kept."""
        calls = iter(self.calls if replay else ())

        def hook(module, given):
            if replay:
                return (given[0], *next(calls))
            self.calls.append(given[1:])
            return None

        handles = [module.register_forward_pre_hook(hook) for module in experts_of(model).values()]
        try:
            return logits(model, ids)
        finally:
            for handle in handles:
                handle.remove()


@every_model
def test_logits_and_tokens_are_those_of_the_dequantised_weights(kind):
    model = make(kind)
    zenwoq.torch.quantize_experts(model, progress=False)
    dense = zenwoq.torch.restore(model, dtype=torch.float32, inplace=False)
    options = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False, "pad_token_id": 127}
    ids = model.generate(IDS[:, :6], attention_mask=torch.ones(1, 6), **options)
    routing = Routing()
    got = routing.logits(model, ids, replay=False)
    expected = routing.logits(dense, ids, replay=True)
    limit = 0.01 * expected.abs().max()
    assert len(routing.calls) == len(experts_of(model)) and (got - expected).abs().max() <= limit
    of_tokens = expected[0, 5:-1]
    chosen = of_tokens.gather(1, ids[0, 6:, None])[:, 0]
    assert (chosen >= of_tokens.amax(1) - limit).all()  # the greatest, or a near tie
    assert (chosen == of_tokens.amax(1)).sum() >= 15


@every_model
def test_compiled_models_have_no_breaks_and_the_same_bits(kind):
    model = make(kind, torch.bfloat16)
    zenwoq.torch.quantize_experts(model, progress=False)
    expected = logits(model)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(IDS, use_cache=False).logits.float(), expected)
    module = next(iter(experts_of(model).values()))
    x, ids, router = routed(module, 5, 2)
    with torch.no_grad():
        by_inductor = torch.compile(module, fullgraph=True)
        assert torch.equal(by_inductor(x, ids, router), module(x, ids, router))


@every_model
def test_packed_experts_are_saved_and_loaded(kind, tmp_path):
    model = make(kind, torch.bfloat16)
    zenwoq.torch.quantize_experts(model, progress=False)
    expected = logits(model)
    zenwoq.torch.save(model, tmp_path / "model.safetensors")
    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=torch.bfloat16).eval()
    loaded = [
        zenwoq.torch.load(empty, tmp_path / "model.safetensors", mmap=True),
        zenwoq.torch.load(make(kind, torch.bfloat16), tmp_path / "model.safetensors"),
    ]
    other = make(kind, torch.bfloat16)
    zenwoq.torch.quantize_experts(other, group_size=64, symmetric=False, progress=False)
    loaded.append(zenwoq.torch.load(copy.deepcopy(other), tmp_path / "model.safetensors"))
    other.load_state_dict(model.state_dict())
    model.save_pretrained(tmp_path / "folder")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    assert again.dtype == torch.bfloat16
    loaded += [other, again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for each in loaded:
        for module in experts_of(each).values():
            assert is_packed(module)
            assert each not in loaded[:4] or module.gate_packed.data_ptr() % 64 == 0
            assert all(module._buffers[name].dtype == torch.uint8 for name in PACKED)
        assert torch.equal(logits(each), expected)


def test_files_that_fit_no_experts_are_refused(tmp_path):
    model = make("mixtral")
    zenwoq.torch.quantize_experts(model, progress=False)
    zenwoq.torch.save(model, tmp_path / "model.safetensors")
    smaller = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SIZES, intermediate_size=96, num_local_experts=2)
    )
    with pytest.raises(ValueError, match=r"model\.layers\.0\.mlp\.experts: the file has packed experts: gate_packed"):
        zenwoq.torch.load(smaller, tmp_path / "model.safetensors")
    state = model.state_dict()
    damaged = {name: t.clone() for name, t in state.items()}
    damaged["model.layers.1.mlp.experts.up_packed"][2, 4] ^= 255
    with pytest.raises(RuntimeError, match=r"model\.layers\.1\.mlp\.experts\.up_packed of expert 2"):
        model.load_state_dict(damaged)
    model.model.layers[1].mlp.experts.down_packed[3, 4] ^= 255
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.experts\.down_packed of expert 3"):
        zenwoq.torch.save(model, tmp_path / "damaged.safetensors")
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.experts\.down_packed of expert 3"):
        model.save_pretrained(tmp_path / "damaged")


def test_casts_leave_the_packed_weights():
    model = make("gpt_oss", torch.bfloat16)
    zenwoq.torch.quantize_experts(model, progress=False)
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if name.endswith("_packed")}
    model.to(torch.float32)
    assert len(before) == 6
    assert all(torch.equal(model.get_buffer(name), packed) for name, packed in before.items())
    assert model.model.layers[0].mlp.experts.down_bias.dtype == torch.float32
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (
            model.model.layers[0].mlp.experts(*routed(model.model.layers[0].mlp.experts, 3, 2)).dtype == torch.bfloat16
        )


@every_model
def test_restored_experts_have_the_values_and_the_implementation_that_they_had(kind):
    model = make(kind)
    dense = copy.deepcopy(model)
    model.set_experts_implementation("batched_mm")
    zenwoq.torch.quantize_experts(model, progress=False)
    module = next(iter(experts_of(model).values()))
    assert module.config._experts_implementation == "zenwoq" and module.config is not model.config
    assert model.config._experts_implementation == "batched_mm"
    assert zenwoq.torch.restore(model, dtype=torch.float32) is model
    assert not any(is_packed(each) for each in model.modules())
    assert next(iter(experts_of(model).values())).config is model.config
    assert {name: p.shape for name, p in model.named_parameters()} == {n: p.shape for n, p in dense.named_parameters()}
    for name, parameter in model.named_parameters():
        expected = dense.get_parameter(name)
        if name.endswith(("gate_up_proj", "down_proj")) and expected.dim() == 3:
            if module.is_transposed:
                expected = expected.transpose(1, 2)
            found = parameter.transpose(1, 2) if module.is_transposed else parameter
            steps = expected.unflatten(-1, (-1, GROUP)).abs().amax(-1, keepdim=True) / 7.5
            off = (found - expected).unflatten(-1, (-1, GROUP)).abs() / steps
            assert off.max() <= 0.56 and off.mean() > 0.2, name  # half a step, and what is cut off above
        else:
            assert torch.equal(parameter, expected), name
    before = logits(model)
    model.set_experts_implementation("eager")
    assert torch.allclose(logits(model), before, atol=1e-3)


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
    free = _quantize_experts._free

    def watched(*given):
        free(*given)
        gone.append([weight() is None for weight in weights])

    monkeypatch.setattr(_quantize_experts, "_free", watched)
    report = zenwoq.torch.quantize_experts(model, progress=False)
    assert gone == [[True, False], [True, True], [True, True], [True, True]]
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
    from zenwoq.torch._experts import shape_of

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


def test_gradients_are_refused():
    model = make("mixtral")
    zenwoq.torch.quantize_experts(model, progress=False)
    with pytest.raises(RuntimeError, match="zenwoq's experts compute no gradients"):
        model(IDS)


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


def as_gptq(model: torch.nn.Module, folder: Path, alike: bool = True) -> dict[str, torch.Tensor]:
    """A GPTQ folder of a Qwen3-MoE whose experts are quantized; returns all weights as they were rounded."""
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    values = dict(state)
    for key in [key for key in state if ".experts." in key]:
        if not alike and ".layers.1." in key and ".experts.5.up_proj" in key:
            continue
        name, weight = key.removesuffix(".weight"), state.pop(key)
        codes, scales, _ = rounded(weight.float(), GROUP, True)
        nibbles = (codes + 8).to(torch.uint8)
        state[f"{name}.qweight"] = words(nibbles.t().unflatten(0, (-1, 8)).transpose(1, 2)).squeeze(-1)
        state[f"{name}.qzeros"] = words(torch.full((scales.shape[1], len(weight)), 7))
        state[f"{name}.scales"] = scales.half().t().contiguous()
        state[f"{name}.g_idx"] = (torch.arange(weight.shape[1]) // GROUP).int()
        values[key] = codes.float() * scales.half().float().repeat_interleave(GROUP, 1)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    text["quantization_config"] = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "sym": True,
        "desc_act": False,
    }
    (folder / "config.json").write_text(json.dumps(text))
    return values


def dense_of(model: torch.nn.Module, values: dict[str, torch.Tensor], folder: Path) -> torch.nn.Module:
    """transformers' own joining of the experts' linears."""
    model.save_pretrained(folder)
    save_file(
        {key: value.contiguous() for key, value in values.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize("alike", [True, False])
def test_from_checkpoint_of_experts_in_gptq(alike, tmp_path):
    model = make("qwen3_moe")
    dense = dense_of(model, as_gptq(model, tmp_path / "gptq", alike), tmp_path / "dense")
    loaded = zenwoq.torch.from_checkpoint(tmp_path / "gptq", dtype=torch.float32, progress=False)
    packed = [layer for layer in loaded.zenwoq_report.replaced if layer.stacked]
    assert [layer.name for layer in packed] == [f"model.layers.{i}.mlp.experts" for i in range(2 if alike else 1)]
    left = {layer.result for layer in loaded.zenwoq_report.left}
    assert left == (set() if alike else {"unpacked: up has 4-bit weights of 7 experts, the model 8"})
    assert (logits(loaded) - logits(dense)).abs().max() <= 0.03 * logits(dense).abs().max()
    loaded.save_pretrained(tmp_path / "packed")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert torch.equal(logits(again), logits(loaded))
    restored = zenwoq.torch.restore(loaded, dtype=torch.float32)
    for name, parameter in dense.named_parameters():
        assert torch.equal(restored.get_parameter(name), parameter), name


def test_from_checkpoint_of_experts_in_a_zwq_file(tmp_path):
    as_gptq(make("qwen3_moe"), tmp_path / "gptq")
    loaded = zenwoq.torch.from_checkpoint(tmp_path / "gptq", dtype=torch.float32, progress=False)
    zenwoq.load(tmp_path / "gptq").convert(tmp_path / "model.zwq")
    converted = zenwoq.torch.from_checkpoint(tmp_path / "model.zwq", dtype=torch.float32, progress=False)
    assert len(converted.zenwoq_report.replaced) == 2 and not converted.zenwoq_report.left
    assert torch.equal(logits(converted), logits(loaded))


def test_from_checkpoint_of_experts_in_act_order(tmp_path):
    as_gptq(make("qwen3_moe"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for name in [name for name in state if name.endswith(("gate_proj.g_idx", "up_proj.g_idx"))]:
        state[name] = state[name][order]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text["quantization_config"]["desc_act"] = True
    (tmp_path / "config.json").write_text(json.dumps(text))
    loaded = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    assert len(loaded.zenwoq_report.replaced) == 2 and "act-order" in loaded.zenwoq_report.replaced[0].result
    dense = zenwoq.torch.restore(loaded, dtype=torch.float32, inplace=False)
    routing = Routing()
    got = routing.logits(loaded, IDS, replay=False)
    assert (routing.logits(dense, IDS, replay=True) - got).abs().max() <= 0.01 * got.abs().max()
    name = "model.layers.0.mlp.experts.3.up_proj.g_idx"
    state[name] = state[name].flip(0)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    unlike = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    results = {layer.result for layer in unlike.zenwoq_report.left}
    assert results == {"unpacked: gate and up of expert 3 have columns in another order"}


def arguments(**other):
    """Arguments of the operator that are right but for the others."""
    model = make("mixtral", torch.bfloat16)
    zenwoq.torch.quantize_experts(model, progress=False)
    module = model.model.layers[0].mlp.experts
    x, ids, router = routed(module, 3, 2)
    right = {
        "x": x, "ids": ids, "router": router, "gate": module.gate_packed, "up": module.up_packed,
        "down": module.down_packed, "gate_bias": None, "up_bias": None, "down_bias": None, "intermediate": 96,
        "activation": 2,
    }  # fmt: skip
    return {**right, **{name: value(right) if callable(value) else value for name, value in other.items()}}


WRONG = {
    "x must have at least one dimension": {"x": torch.tensor(1.0)},
    "x must be float32, float16 or bfloat16": {"x": torch.zeros(3, 64, dtype=torch.int32)},
    "ids must have x's shape": {"ids": torch.zeros(4, 2, dtype=torch.int64)},
    "ids must be int64 or int32": {"ids": torch.zeros(3, 2)},
    "router must have x's shape": {"router": torch.zeros(3, 3)},
    "router must be float32, float16 or bfloat16": {"router": torch.zeros(3, 2, dtype=torch.int64)},
    "gate must be a contiguous 2-D uint8 tensor": {"gate": lambda right: right["gate"][0]},
    "up must be a contiguous 2-D uint8 tensor": {"up": lambda right: right["up"][:, ::2]},
    "down must be a contiguous 2-D uint8 tensor": {"down": lambda right: right["down"].to(torch.int8)},
    "up is of 3 experts, gate of 4": {"up": lambda right: right["up"][:3]},
    "up_bias without up": {"up": None, "up_bias": torch.zeros(4, 96)},
    "intermediate is 0": {"intermediate": 0},
    "too few for it": {"intermediate": 1 << 30},
    r"gate_bias must have shape \[4, 96\]": {"gate_bias": torch.zeros(4, 95)},
    r"down_bias must have shape \[4, 64\]": {"down_bias": torch.zeros(64)},
    "up_bias must have the other biases' dtype": {
        "gate_bias": torch.zeros(4, 96), "up_bias": torch.zeros(4, 96, dtype=torch.bfloat16)
    },
}  # fmt: skip


@pytest.mark.parametrize("reason", list(WRONG))
def test_operator_and_its_fake_refuse_the_same(reason):
    given = arguments(**WRONG[reason])
    with pytest.raises(RuntimeError, match=rf"zenwoq::experts: .*{reason}"):
        torch.ops.zenwoq.experts(*given.values())
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(value) if isinstance(value, torch.Tensor) else value for value in given.values()]
        with pytest.raises(RuntimeError, match=rf"zenwoq::experts: .*{reason}"):
            torch.ops.zenwoq.experts(*fakes)


def test_operator_with_more_dimensions_strides_and_none():
    given = arguments()
    expected = torch.ops.zenwoq.experts(*given.values())
    folded = {name: given[name].view(1, 3, -1) for name in ("x", "ids", "router")}
    assert torch.equal(torch.ops.zenwoq.experts(*{**given, **folded}.values())[0], expected)
    strided = {name: torch.cat((given[name], given[name]), 1)[:, : given[name].shape[1]] for name in folded}
    assert not strided["ids"].is_contiguous()
    assert torch.equal(torch.ops.zenwoq.experts(*{**given, **strided}.values()), expected)
    for name in ("float32", "float16", "bfloat16"):
        router = given["router"].to(getattr(torch, name))
        as_f32 = torch.ops.zenwoq.experts(*{**given, "router": router.float()}.values())
        assert torch.equal(torch.ops.zenwoq.experts(*{**given, "router": router}.values()), as_f32)
    none = {name: given[name][:0] for name in folded}
    assert torch.ops.zenwoq.experts(*{**given, **none}.values()).shape == (0, 64)
    no_slots = {name: given[name][:, :0] for name in ("ids", "router")}
    assert (torch.ops.zenwoq.experts(*{**given, **no_slots}.values()) == 0).all()
    with pytest.raises(RuntimeError, match=r"zenwoq::experts: .*gate is \[96, 64\]: must be \[95, 64\]"):
        torch.ops.zenwoq.experts(*{**given, "intermediate": 95}.values())


def test_operator_passes_torchs_own_checks():
    torch.library.opcheck(torch.ops.zenwoq.experts.default, tuple(arguments().values()))
    biases = {"gate_bias": torch.rand(4, 96), "up_bias": torch.rand(4, 96), "down_bias": torch.rand(4, 64)}
    torch.library.opcheck(torch.ops.zenwoq.experts.default, tuple(arguments(**biases).values()))
