# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Fused models do all that models apart do: copies, casts, files, hooks, offloading, tracers, changes afterwards."""

from __future__ import annotations

import copy
import gc
import json
import pickle

import pytest
import torch
import transformers
import zenwoq.torch
from fused_models import SIZES, calls_of, equal, fused_and_apart, logits, made, projections, requantized, zenwoq_weight
from safetensors import safe_open
from safetensors.torch import save_file
from zenwoq.torch import ActivatedMLP, GatedMLP, Linear

pytestmark = pytest.mark.usefixtures("some_threads")


def test_a_pair_of_which_one_was_replaced_is_computed_apart():
    model, apart, _ = fused_and_apart("llama")
    for each in (model, apart):
        each.model.layers[0].mlp.up_proj = Linear(zenwoq_weight(256, 128, 5, group=64))
        each.model.layers[1].mlp.up_proj = Linear(zenwoq_weight(256, 128, 5, group=32))
    x = torch.randn(2, 128).bfloat16()
    fused, alone = model.model.layers[0].mlp, apart.model.layers[0].mlp
    assert isinstance(fused, GatedMLP) and torch.equal(fused(x), alone(x))
    with pytest.raises(RuntimeError, match="x has 2 rows of k = 127"):
        model.model.layers[1].mlp(x[:, :127])


def through_pickle(model: torch.nn.Module) -> torch.nn.Module:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_copies(copied):
    model, _, _ = fused_and_apart("llama")
    other = copied(model)
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(other, ids), logits(model, ids))
    assert calls_of(other, ids) == calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}
    layers, others = ({id(m) for m in each.modules()} for each in (model, other))
    shared = other.model.layers[0].self_attn.q_proj._shared_input.layers()
    assert {id(layer) for layer in shared} <= others and not layers & others
    lone = copied(model.model.layers[0].self_attn.q_proj)  # whose others are gone
    gc.collect()
    x = torch.randn(2, 128, dtype=torch.bfloat16)
    assert torch.equal(lone(x), model.model.layers[0].self_attn.q_proj(x))
    assert lone._shared_input.layers()[1:] == [None, None]
    zenwoq.torch.restore(other)
    assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "gated": 2}


def test_casts():
    model, apart, _ = fused_and_apart("phi")
    for cast in (lambda m: m.half(), lambda m: m.float(), lambda m: m.to(torch.bfloat16)):
        cast(model), cast(apart)
        ids = torch.arange(3, 12)[None]
        one, other = logits(model, ids), logits(apart, ids)
        assert one.dtype == other.dtype and (one - other).norm() <= 2**-6 * other.norm()
        assert calls_of(model, ids) == {"three_linears": 2, "linear": 4, "linear_fused": 2}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model, _, _ = fused_and_apart("llama", dtype=torch.float32)
    x = torch.randn(64, 128, generator=torch.Generator().manual_seed(9))
    mlp = model.model.layers[0].mlp
    with torch.no_grad():
        with torch.autocast("cpu", dtype=dtype):
            y = mlp(x)
        assert y.dtype == dtype and torch.equal(y, mlp(x.to(dtype)))
        assert mlp(x).dtype == torch.float32


def test_no_gradients_are_lost():
    """Also where the linear behind the activation is one that has them."""
    model, _, _ = fused_and_apart("llama", dtype=torch.float32)
    mlp = model.model.layers[0].mlp
    mlp.down_proj = torch.nn.Linear(256, 128)
    with pytest.raises(RuntimeError, match="no gradients"):
        mlp(torch.randn(3, 128, requires_grad=True))


def test_modules_that_change_after_it():
    """The block computes as its modules say, and in one call again when they are as they were."""
    model, apart, _ = fused_and_apart("llama")
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    fused, other = model.model.layers[0].mlp, apart.model.layers[0].mlp
    seen = []
    with torch.no_grad():
        before = fused(x)
        for name in ("gate_proj", "up_proj", "act_fn"):
            hooks = [getattr(m, name).register_forward_hook(lambda *a, n=name: seen.append(n)) for m in (fused, other)]
            assert torch.equal(fused(x), other(x)) and seen == [name] * 2
            for hook in hooks:
                hook.remove()
            seen.clear()
            assert torch.equal(fused(x), before)
        act = fused.act_fn
        for mlp in (fused, other):
            mlp.act_fn = torch.nn.Tanh()
        assert torch.equal(fused(x), other(x))
        for mlp in (fused, other):
            mlp.act_fn = act
        assert torch.equal(fused(x), before)
        for mlp in (fused, other):
            mlp.gate_proj = torch.nn.Linear(128, 256, dtype=torch.bfloat16)
        other.gate_proj = fused.gate_proj
        assert torch.equal(fused(x), other(x))


def test_arguments_by_name():
    phi, llama = (fused_and_apart(family)[0] for family in ("phi", "llama"))
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        for mlp, name in ((phi.model.layers[0].mlp, "hidden_states"), (llama.model.layers[0].mlp, "x")):
            assert torch.equal(mlp(**{name: x}), mlp(x))
            with pytest.raises(TypeError, match=f"forward takes {name}, not other"):
                mlp(other=x)
    with pytest.raises(TypeError, match="forward takes x, not nothing"):
        llama.model.layers[0].mlp()


def test_hooks_of_a_block_are_kept():
    model = made("llama")
    seen = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    assert len(zenwoq.torch.optimize(model, progress=False).fused) == 4
    logits(model, torch.arange(3, 5)[None])
    assert seen == [1]


@pytest.mark.parametrize("family", ["llama", "phi3", "phi"])
def test_back_to_dense(family):
    model, apart, _ = fused_and_apart(family)
    classes = [type(module).__name__ for module in apart.modules()]
    dense, expected = zenwoq.torch.restore(model, inplace=False), zenwoq.torch.restore(apart)
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(dense, ids), logits(expected, ids))
    assert not any(isinstance(module, Linear | GatedMLP | ActivatedMLP) for module in dense.modules())
    assert [type(module).__name__ for module in dense.modules()] == classes
    assert not any("_fused" in name or "_shared" in name for m in dense.modules() for name in vars(m))
    assert not any(m._load_state_dict_post_hooks for m in dense.modules())
    dense(ids).logits.sum().backward()  # it can be trained
    assert calls_of(model, ids).keys() > {"linear"}
    report = zenwoq.torch.optimize(model, progress=False, fuse=False)
    assert report.blocks == [] and calls_of(model, ids).keys() == {"linear"}


@pytest.mark.parametrize("into", ["skeleton", "fused", "apart"])
@pytest.mark.parametrize("saved", ["fused", "apart", "older", "half"])
def test_files(tmp_path, saved, into):
    model, apart, _ = fused_and_apart("phi3")
    half = copy.deepcopy(model)
    zenwoq.torch.optimize(half.model.layers[0], progress=False, fuse=False)
    source = {"fused": model, "apart": apart, "older": apart, "half": half}[saved]
    path = tmp_path / "model.safetensors"
    zenwoq.torch.save(source, path)
    if saved == "older":
        forget_what_was_fused(path)
    if into == "skeleton":
        with torch.device("meta"):
            target = made("phi3").to("meta")
    else:
        target = copy.deepcopy(model if into == "fused" else apart)
    zenwoq.torch.load(target, path)
    expected = model if saved == "older" else source
    ids = torch.arange(3, 12)[None]
    assert calls_of(target, ids) == calls_of(expected, ids)
    assert torch.equal(logits(target, ids), logits(expected, ids))
    zenwoq.torch.load(target, path, fuse=False)
    assert calls_of(target, ids).keys() == {"linear"}


def forget_what_was_fused(path: object) -> None:
    """Makes a file as it was written before blocks were fused."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["zenwoq"])
    assert about.pop("fuse") is False
    save_file(tensors, path, {"zenwoq": json.dumps(about)})


@pytest.mark.parametrize("saved", ["fused", "apart", "half"])
def test_pretrained(tmp_path, saved):
    model, apart, _ = fused_and_apart("llama")
    source = apart if saved == "apart" else model
    if saved == "half":
        zenwoq.torch.optimize(model.model.layers[0], progress=False, fuse=False)
    source.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["quantization_config"].get("fuse", True)
    half = ["model.layers.1.self_attn", "model.layers.1.mlp"]
    assert written == {"fused": True, "apart": False, "half": half}[saved]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(3, 12)[None]
    assert calls_of(loaded, ids) == calls_of(source, ids)
    assert torch.equal(logits(loaded, ids), logits(source, ids))


@pytest.mark.parametrize("fuse", [True, False])
def test_from_checkpoint(tmp_path, fuse):
    from test_families import as_gptq

    torch.manual_seed(1)
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    as_gptq(transformers.LlamaForCausalLM(config).eval(), tmp_path)
    model = zenwoq.torch.from_checkpoint(tmp_path, progress=False, fuse=fuse)
    assert len(model.zenwoq_report.fused) == (4 if fuse else 0)
    expected = {"three_linears": 2, "linear": 4, "gated": 2} if fuse else {"linear": 14}
    assert calls_of(model, torch.arange(3, 12)[None]) == expected


def test_a_state_of_other_quantizations():
    """A pair that is quantized in two ways after loading falls apart, and fits again after the next."""
    model, _, _ = fused_and_apart("llama")
    state = copy.deepcopy(model.state_dict())
    other = made("llama")
    requantized(other, "model.layers.0.mlp.up_proj")
    zenwoq.torch.optimize(other, progress=False)
    model.load_state_dict(other.state_dict())
    ids = torch.arange(3, 12)[None]
    assert torch.equal(logits(model, ids), logits(other, ids))
    assert calls_of(model, ids)["gated"] == 1
    model.load_state_dict(state)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.fused) == 4 and calls_of(model, ids)["gated"] == 2


def test_a_second_time_changes_nothing():
    model, _, report = fused_and_apart("llama")
    shared = model.model.layers[0].self_attn.q_proj._shared_input
    assert zenwoq.torch.optimize(model, progress=False).blocks == report.blocks
    assert model.model.layers[0].self_attn.q_proj._shared_input is shared


def test_a_compiled_block_stays_compiled():
    torch._dynamo.reset()
    model = made("llama")
    zenwoq.torch.optimize(model, progress=False, fuse=False)
    mlp = model.model.layers[0].mlp
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    mlp.compile(backend=backend)
    x = torch.randn(3, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        mlp(x)
        zenwoq.torch.optimize(model, progress=False)
        y = mlp(x)
        assert torch.equal(y, copy.deepcopy(mlp).forward(x))
    assert len(graphs) == 2 and "zenwoq.gated" in graphs[1] and "zenwoq.gated" not in graphs[0]


def test_offloaded_modules():
    from accelerate import cpu_offload

    model, _, _ = fused_and_apart("llama")
    ids = torch.arange(3, 12)[None]
    apart = zenwoq.torch.optimize(model, inplace=False, progress=False, fuse=False)[0]
    expected = logits(apart, ids)
    cpu_offload(model, offload_buffers=True)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected)


def test_export_and_tracers():
    model, _, _ = fused_and_apart("llama")
    mlp = model.model.layers[0].mlp
    x = torch.randn(4, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = mlp(x)
        rows = torch.export.Dim("rows", max=64)
        program = torch.export.export(mlp, (x,), dynamic_shapes=({0: rows},))
        assert torch.equal(program.module()(x), expected)
        for traced in (torch.fx.symbolic_trace(mlp), torch.jit.trace(mlp, x)):
            assert torch.equal(traced(x), expected)
        fused, apart = projections()
        y = torch.randn(3, 64)
        for traced in (
            torch.jit.trace(fused, y, check_trace=False),
            torch.fx.experimental.proxy_tensor.make_fx(fused)(y),
        ):
            z = torch.randn(3, 64)
            assert equal(list(traced(z)), apart(z))
        script = torch.jit.script(fused.q)
        assert torch.equal(script(y), apart.q(y))


def test_generation_is_that_of_apart():
    model, apart, _ = fused_and_apart("qwen2", dtype=torch.float32)
    ids = torch.arange(3, 12)[None]
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    assert torch.equal(model.generate(ids, **options), apart.generate(ids, **options))
