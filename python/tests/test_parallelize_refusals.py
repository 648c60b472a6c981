# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq.torch.parallelize: what cannot be split, what a split model cannot do, and a process that dies."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import time

import pytest
import torch
import zenwoq.torch
from process_group import TIMEOUT, in_processes, result_of, started
from split_models import logits, mesh_of, model_of, refusal
from zenwoq._weight import WeightParts
from zenwoq.torch._memory import WeightMemory


def refused(rank: int, size: int) -> None:
    mesh = mesh_of(size)
    model = model_of()
    with pytest.raises(TypeError, match="model is a dict"):
        zenwoq.torch.parallelize({}, mesh)  # type: ignore[type-var]
    assert "mesh is a int, must be a torch.distributed.device_mesh.DeviceMesh" in refusal(model, 2)
    assert refusal(torch.nn.Sequential(), mesh) == "Sequential has no tensor-parallel plan (tp_plan): give plan="
    assert "no packed layer of the model is in its plan" in refusal(model, mesh, plan={"nothing": "colwise"})
    assert "model.layers.0.mlp.up_proj: its style 'sideways' is none of colwise," in refusal(
        model, mesh, plan={"model.layers.*.mlp.up_proj": "sideways"}
    )
    assert "model.layers.0.mlp: a GatedMLP (GatedMLP) cannot be split" in refusal(
        model, mesh, plan={"model.layers.*.mlp": "colwise"}
    )
    assert "model.norm.weight: the plan splits it (colwise)" in refusal(
        model, mesh, plan={"model.norm.weight": "colwise"}
    )
    assert refusal(model_of(intermediate_size=320), mesh) == (
        "model.layers.0.mlp.gate_proj: 320 rows among 2 processes are not a multiple of 64 each: 1 or 5 processes "
        "would do"
    )
    assert refusal(model_of(hidden_size=384, num_attention_heads=6, num_key_value_heads=3, head_dim=128), mesh) == (
        "model.layers.0.self_attn.k_proj: 3 heads of 128 among 2 processes are not as many each: 1 or 3 processes "
        "would do"
    )
    text = refusal(model_of(group=128, intermediate_size=384), mesh)
    assert text.startswith(
        "model.layers.0.mlp.down_proj: 384 columns among 2 processes are 192 each: columns [0, 192) of k = 384, "
    )
    assert "multiples of 128 (a group)" in text
    permuted = model_of()
    permuted.model.layers[1].mlp.down_proj.packed = in_act_order(256, 512)
    text = refusal(permuted, mesh)
    assert text.startswith("model.layers.1.mlp.down_proj: 512 columns among 2 processes are 256 each: columns [0, 256)")
    assert "in act-order: a group's columns lie apart" in text
    replaced = model_of()
    replaced.model.layers[1].mlp.down_proj.forward = lambda x: x
    assert "model.layers.1.mlp.down_proj: its forward is replaced" in refusal(replaced, mesh)
    damaged = model_of()
    if rank == 1:
        damaged.model.layers[1].mlp.down_proj.packed[3] = 0
    assert ("process 1: Error: " if rank == 0 else "Error: ") + "packed weight: wrong magic" in refusal(damaged, mesh)
    other = model_of(num_hidden_layers=2 + rank)
    assert refusal(other, mesh) == "the model of process 1 has other layers than that of process 0"
    alone = model_of(intermediate_size=512 if rank == 0 else 320)
    assert refusal(alone, mesh).startswith(
        "process 1: model.layers.0.mlp.gate_proj: 320 rows" if rank == 0 else "model"
    )
    dense = model_of("Mixtral", num_local_experts=4, num_experts_per_tok=2)
    assert "model.layers.0.mlp.experts: a MixtralExperts has dense experts: only packed ones" in refusal(dense, mesh)
    with torch.device("meta"):
        empty = copy.deepcopy(model).to("meta")
    assert "model.layers.0.self_attn.q_proj has no values yet" in refusal(empty, mesh)


def afterwards(rank: int, size: int, folder: str) -> None:
    mesh = mesh_of(size)
    model = model_of()
    zenwoq.torch.parallelize(model, mesh)
    with pytest.raises(ValueError, match=r"model\.layers\.0\.self_attn\.q_proj is split already"):
        zenwoq.torch.parallelize(model, mesh)
    again = copy.deepcopy(model)
    assert torch.equal(logits(again), logits(model))
    text = rf"model\.layers\.0\.self_attn\.q_proj is part {rank} of 2 of a layer .*: it cannot be "
    with pytest.raises(ValueError, match=f"{text}saved"):
        zenwoq.torch.save(model, f"{folder}/model.zenwoq")
    with pytest.raises(ValueError, match=f"{text}saved"):
        model.save_pretrained(f"{folder}/{rank}")
    with pytest.raises(ValueError, match=f"{text}restored"):
        zenwoq.torch.restore(model)
    with pytest.raises(TypeError, match="belongs to its processes and cannot be pickled"):
        pickle.dumps(model)
    with pytest.raises(RuntimeError, match="SummedLinear computes no gradients"):
        model.model.layers[0].mlp.down_proj(torch.ones((1, 256), requires_grad=True))


def in_act_order(n: int, k: int, group: int = 32) -> torch.Tensor:
    """A packed weight whose columns are in another order."""
    order = torch.randperm(k, generator=torch.Generator().manual_seed(5)).to(torch.int32)
    codes, scales = torch.zeros((n, k), dtype=torch.uint8), torch.ones((n, k // group))
    parts = WeightParts(codes, scales, layout="u8")
    parts.desc.permuted, parts.source.permutation, parts.source.permutation_bytes = 1, order.data_ptr(), 4 * k
    packed = WeightMemory().empty(parts.packed_bytes())
    parts.pack_into(packed.data_ptr(), packed.nbytes, 1)
    return packed


def test_what_cannot_be_split():
    in_processes(refused, 2)


def test_what_a_split_model_cannot_do(tmp_path):
    in_processes(afterwards, 2, str(tmp_path))
    assert not list(tmp_path.rglob("*.*"))


def by_three(rank: int, size: int) -> None:
    mesh = mesh_of(size)
    assert refusal(model_of(), mesh) == (
        "model.layers.0.self_attn.q_proj: 256 rows among 3 processes are not a multiple of 64 each: 1 or 2 or 4 "
        "processes would do"
    )


def test_three_processes_and_four_heads():
    in_processes(by_three, 3)


def dies(rank: int, size: int) -> float:
    model = zenwoq.torch.parallelize(model_of(num_hidden_layers=1), mesh_of(size))
    logits(model)
    if rank == 1:
        os._exit(3)
    begin = time.monotonic()
    with pytest.raises(RuntimeError):
        while True:
            logits(model)
    return time.monotonic() - begin


def test_a_process_that_dies_is_an_error_in_the_others():
    with started(dies, 2) as ((_, pipe), (dead, gone)):
        with contextlib.suppress(EOFError):
            raise AssertionError(gone.recv_bytes())
        assert result_of(pipe) < TIMEOUT
    assert dead.exitcode == 3
