# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq.torch.parallelize: two processes give what one gives, for the models, plans and layers that there are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import zenwoq.torch
from conftest import bound_of
from process_group import in_processes
from split_models import logits, mesh_of, model_of, refusal, tokens
from torch.distributed.device_mesh import init_device_mesh
from zenwoq.torch._parts import GatheredLinear, SummedLinear


def two_as_one(rank: int, size: int) -> tuple:
    model = model_of()
    whole = copy.deepcopy(model)
    expected, its_tokens = logits(whole), tokens(whole)
    assert zenwoq.torch.parallelize(model, mesh_of(size)) is model
    x = torch.randn((5, 256), generator=torch.Generator().manual_seed(3))
    hidden = torch.randn((5, 512), generator=torch.Generator().manual_seed(4))
    for mine, other in zip(model.model.layers, whole.model.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            part, all_of_it = (layer.self_attn.get_submodule(name) for layer in (mine, other))
            n = all_of_it.out_features // size
            assert part.out_features == n and part.packed.numel() < all_of_it.packed.numel() * 0.6
            assert torch.equal(part(x), all_of_it(x)[:, rank * n : (rank + 1) * n]), name
        assert isinstance(mine.mlp, zenwoq.torch.GatedMLP), "it is still fused"
        down, all_of_it = mine.mlp.down_proj, other.mlp.down_proj
        assert type(down) is SummedLinear and down.in_features == 256 and down.out_features == 256
        exact, bound = bound_of(all_of_it.weight_view(), hidden)
        sums = down(hidden[:, rank * 256 : (rank + 1) * 256]).double() - all_of_it.bias.double()
        exact_bias = exact + all_of_it.bias.double()
        rounding = 2.0**-23 * (exact_bias.abs() + exact.abs() + bound)  # of the processes' sums, and of the bias
        assert ((sums - exact).abs() <= bound + rounding).all(), "within the bound of one process"
    found = logits(model)
    return found, (found - expected).abs().max().item(), expected.abs().max().item(), tokens(model), its_tokens


def test_two_processes_give_what_one_gives():
    (a, *first), (b, *second) = in_processes(two_as_one, 2)
    assert torch.equal(a, b), "all processes have the same bits"
    assert first == second
    difference, most, found, expected = first
    # Layer by layer, a few results are the neighbouring bfloat16, which the next layers carry on.
    assert difference <= 2.0**-6 * most, (difference, most)
    assert found == expected


def one_as_one(rank: int, size: int) -> bool:
    model = model_of()
    expected = logits(model)
    mesh = init_device_mesh("cpu", (size, 1), mesh_dim_names=("dp", "tp"))
    assert 'must have one: give mesh["..."]' in refusal(model, mesh)
    zenwoq.torch.parallelize(model, mesh["tp"])
    return torch.equal(logits(model), expected)


def test_one_process_of_its_own_mesh_has_the_bits_of_none():
    assert in_processes(one_as_one, 2) == [True, True]


def compiled(rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A model that was compiled before, and has run."""
    model = model_of(num_hidden_layers=1)
    before: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    logits(before)
    assert zenwoq.torch.parallelize(before, mesh_of(size)) is before
    return logits(model), logits(before)


def test_compiled_models():
    for eager, found in in_processes(compiled, 2):
        assert torch.equal(eager, found)


OTHERS: dict[str, dict[str, object]] = {
    # Gathered projections and a split input; halves of one linear.
    "Phi3": {"head_dim": 64},
    "Olmo2": {},
    "Qwen3": {},
    "Gemma2": {"query_pre_attn_scalar": 64},
}


def others(rank: int, size: int, name: str) -> tuple[torch.Tensor, torch.Tensor, int, bool]:
    changes = {k: v for k, v in OTHERS[name].items() if k != "head_dim"}
    model = model_of(name, **changes)
    expected = logits(model)
    zenwoq.torch.parallelize(model, mesh_of(size))
    gathered = sum(type(module) is GatheredLinear for module in model.modules())
    return logits(model), expected, gathered, isinstance(model.model.layers[0].mlp, zenwoq.torch.GatedMLP)


@pytest.mark.parametrize("name", OTHERS)
def test_plans_of_other_models(name):
    for found, expected, gathered, is_fused in in_processes(others, 2, name):
        assert (found - expected).abs().max() <= 2.0**-5 * expected.abs().max()
        assert gathered == {"Phi3": 4, "Olmo2": 6}.get(name, 0)
        assert is_fused is (name != "Phi3"), "gate and up of all are not those of one call"


MIXTURES: dict[str, dict[str, object]] = {
    "Mixtral": {"num_local_experts": 4},
    "GptOss": {"num_local_experts": 4, "intermediate_size": 256},  # with biases
}


def mixture(rank: int, size: int, name: str) -> tuple[torch.Tensor, torch.Tensor, float]:
    model = model_of(name, num_experts_per_tok=2, **MIXTURES[name])
    model.set_experts_implementation("zenwoq")
    zenwoq.torch.quantize_experts(model, progress=False)
    expected = logits(model)
    whole = model.model.layers[0].mlp.experts.gate_packed.nbytes
    plan = None if name == "Mixtral" else {"model.layers.*.mlp.experts": "moe_tp_experts"}
    zenwoq.torch.parallelize(model, mesh_of(size), plan=plan)
    with pytest.raises(ValueError, match=r"part . of 2 of a layer"):
        zenwoq.torch.restore(model)
    return logits(model), expected, model.model.layers[0].mlp.experts.gate_packed.nbytes / whole


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_are_split_by_their_intermediate_features(name):
    results = in_processes(mixture, 2, name)
    for found, expected, share in results:
        assert share < 0.55
        assert (found - expected).abs().max() <= 2.0**-5 * expected.abs().max()
    assert torch.equal(results[0][0], results[1][0])


def heads(rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A model without a plan, whose attention takes the number of its heads from itself."""
    model = model_of("OPT", ffn_dim=512, word_embed_proj_dim=256)
    plan = {f"model.decoder.layers.*.self_attn.{own}_proj": "colwise" for own in "qkv"}
    plan |= {"model.decoder.layers.*.self_attn.out_proj": "rowwise"}
    plan |= {"model.decoder.layers.*.fc1": "colwise", "model.decoder.layers.*.fc2": "rowwise"}
    expected = logits(model)
    zenwoq.torch.parallelize(model, mesh_of(size), plan=plan)
    assert model.model.decoder.layers[1].self_attn.num_heads == 2
    return logits(model), expected


def test_counts_of_heads_become_the_process_s_own():
    for found, expected in in_processes(heads, 2):
        assert (found - expected).abs().max() <= 2.0**-5 * expected.abs().max()


def mixed(rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    model = model_of(fuse=False)
    for name in ("mlp.down_proj", "self_attn.v_proj"):
        parent, _, own = name.rpartition(".")
        block = model.model.layers[1].get_submodule(parent)
        packed = block.get_submodule(own)
        dense = torch.nn.Linear(packed.in_features, packed.out_features, dtype=torch.bfloat16)
        dense.weight.data, dense.bias.data = packed.dequantize(), packed.bias.data
        setattr(block, own, dense)
    expected = logits(model)
    zenwoq.torch.parallelize(model, mesh_of(size))
    assert model.model.layers[1].mlp.down_proj.weight.shape == (256, 256)
    return logits(model), expected


def test_dense_linears_are_split_alike():
    for found, expected in in_processes(mixed, 2):
        assert (found - expected).abs().max() <= 2.0**-5 * expected.abs().max()


def halves(rank: int, size: int) -> None:
    """A linear of gate and up, which a plan of one's own splits in both halves; plain rows would part gate from up."""
    model = model_of("Phi3")
    plan = {"model.layers.*.mlp.gate_up_proj": "packed_colwise", "model.layers.*.mlp.down_proj": "rowwise"}
    for fuse in (True, False):
        assert 'would split gate from up: its style must be "packed_colwise"' in refusal(
            model_of("Phi3", fuse=fuse), mesh_of(size), plan=plan | {"model.layers.*.mlp.gate_up_proj": "colwise"}
        )
    expected = logits(model)
    zenwoq.torch.parallelize(model, mesh_of(size), plan=plan)
    assert isinstance(model.model.layers[0].mlp, zenwoq.torch.GatedMLP)
    assert model.model.layers[0].mlp.gate_up_proj.out_features == 512
    assert (logits(model) - expected).abs().max() <= 2.0**-5 * expected.abs().max()


def test_halves_of_one_linear():
    in_processes(halves, 2)
