# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts in 4 bits: the operator, models of transformers with packed experts, files of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import transformers
import zenwoq.torch
from experts_models import CONFIGS, GROUP, IDS, SIZES, Routing, every_model, experts_of, logits, make, routed
from torch._subclasses.fake_tensor import FakeTensorMode
from zenwoq.torch._experts import PACKED
from zenwoq.torch._experts_shape import is_packed


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
    alone = {"model.layers.1.mlp.experts.up_packed": damaged["model.layers.1.mlp.experts.up_packed"]}
    with pytest.raises(RuntimeError, match=r"model\.layers\.1\.mlp\.experts\.up_packed of expert 2"):
        model.load_state_dict(alone, strict=False)
    swapped = {"model.layers.1.mlp.experts.down_packed": state["model.layers.1.mlp.experts.up_packed"]}
    with pytest.raises(RuntimeError, match=r"down_packed of expert 0 is 96 x 64, must be 64 x 96"):
        model.load_state_dict(swapped, strict=False)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
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


def test_gradients_are_refused():
    model = make("mixtral")
    zenwoq.torch.quantize_experts(model, progress=False)
    with pytest.raises(RuntimeError, match="zenwoq's experts compute no gradients"):
        model(IDS)


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
