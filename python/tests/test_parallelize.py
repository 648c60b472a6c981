# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq.torch.parallelize: two processes give what one gives, in the memory of their parts; what cannot be split."""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
import mmap
import multiprocessing
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchao.quantization  # noqa: F401 - transformers imports it, in each process
import transformers
import zenwoq
import zenwoq.torch
from conftest import bound_of
from safetensors.torch import save_file
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from zenwoq._weight import WeightParts
from zenwoq.torch._memory import WeightMemory
from zenwoq.torch._parts import GatheredLinear, SummedLinear

PROCESSES = multiprocessing.get_context("forkserver")
# What takes seconds to import, once for all processes.
PROCESSES.set_forkserver_preload(
    [
        "torchao.quantization",
        "zenwoq.torch",
        "torch._dynamo",
        "torch.distributed.device_mesh",
        "transformers.generation.utils",
        "transformers.models.llama.modeling_llama",
    ]
)
TIMEOUT = 60
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 256,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "tie_word_embeddings": False,
    "experts_implementation": "eager",
}
IDS = torch.arange(3, 40)[None]


def packed_of(weight: torch.Tensor, group: int) -> torch.Tensor:
    """A dense weight rounded to 4 bits."""
    groups = weight.detach().float().unflatten(1, (-1, group))
    scales = (groups.abs().amax(-1) / 7).bfloat16()
    codes = (groups / scales[..., None].float()).round().clamp(-8, 7).to(torch.int8).flatten(1)
    made = zenwoq.Weight(codes, scales, layout="s8", table="twos_complement")
    return torch.frombuffer(bytearray(made.packed), dtype=torch.uint8).clone()


def model_of(name: str = "Llama", group: int = 32, fuse: bool = True, **changes: object) -> torch.nn.Module:
    """A model with random weights, biases included, and packed linears."""
    torch.manual_seed(1)
    biases = {"attention_bias": True, "mlp_bias": True} if name == "Llama" else {}
    config = getattr(transformers, f"{name}Config")(**SIZES | biases | changes)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, dtype=torch.bfloat16).eval()
    for own, parameter in model.named_parameters():
        if own.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.06)
    for own, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and "head" not in own and own.endswith(("proj", "fc1", "fc2")):
            parent, _, last = own.rpartition(".")
            made = zenwoq.torch.Linear(packed_of(module.weight, group), module.bias)
            setattr(model.get_submodule(parent), last, made)
    if fuse:
        zenwoq.torch.optimize(model, progress=False)
    return model


def mesh_of(size: int) -> DeviceMesh:
    return init_device_mesh("cpu", (size,))


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(IDS, use_cache=False).logits.float()


@torch.inference_mode()
def tokens(model: torch.nn.Module) -> list[int]:
    return model.generate(IDS, max_new_tokens=16, do_sample=False, pad_token_id=0)[0].tolist()


def run_worker(work: Callable, rank: int, size: int, port: int, arguments: tuple, pipe: object) -> None:
    """A process of a group: sends what work returns, or its traceback."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    try:
        timeout = datetime.timedelta(seconds=TIMEOUT)
        torch.distributed.init_process_group("gloo", rank=rank, world_size=size, timeout=timeout)
        pipe.send_bytes(pickle.dumps((True, work(rank, size, *arguments))))
        torch.distributed.destroy_process_group()
    except BaseException:
        pipe.send_bytes(pickle.dumps((False, traceback.format_exc())))


def start(work: Callable, size: int, *arguments: object) -> list:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=run_worker, args=(work, rank, size, port, arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def in_processes(work: Callable, size: int, *arguments: object) -> list:
    """What work(rank, size, *arguments) returns in each process of a group."""
    results = []
    for process, pipe in start(work, size, *arguments):
        good, result = pickle.loads(pipe.recv_bytes())
        assert good, result
        process.join()
        results.append(result)
    return results


def refusal(model: torch.nn.Module, mesh: object, **options: object) -> str:
    """Why a model cannot be split; it is as before."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if not buffer.is_meta}
    with pytest.raises(ValueError) as error:
        zenwoq.torch.parallelize(model, mesh, **options)
    assert all(torch.equal(model.get_buffer(name), buffer) for name, buffer in before.items())
    assert not any("_zenwoq_group" in vars(module) for module in model.modules())
    return str(error.value)


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


def private_bytes(path: str) -> int:
    """Of the process's mappings of a file: what it has written, which are copies of pages."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(path)
        elif inside and line.startswith("Anonymous:"):
            total += int(line.split()[1]) * 1024
    return total


def as_gptq(model: torch.nn.Module, folder: Path) -> None:
    """The model in GPTQ's files: eight codes along K in a word, 8 as the zero point."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if "packed" not in name}
    for name, layer in model.named_modules():
        if isinstance(layer, zenwoq.torch.Linear):
            codes, scales, _ = layer.weight_view().unpack()
            codes = torch.from_numpy(codes) ^ 0x88
            nibbles = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1).long().t()
            words = (nibbles.unflatten(0, (-1, 8)) << (4 * torch.arange(8))[None, :, None]).sum(1)
            state[f"{name}.qweight"] = torch.where(words >= 2**31, words - 2**32, words).int()
            state[f"{name}.qzeros"] = torch.full((scales.shape[1], len(codes) // 8), 0x77777777, dtype=torch.int32)
            state[f"{name}.scales"] = torch.from_numpy(scales.astype("float32")).half().t().contiguous()
            state[f"{name}.g_idx"] = (torch.arange(layer.in_features) // 32).int()
    folder.mkdir()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    about = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}
    config = json.loads(model.config.to_json_string()) | {"quantization_config": about}
    (folder / "config.json").write_text(json.dumps(config))


def mapped(rank: int, size: int, folder: str, kind: str) -> tuple:
    if kind == "save":
        path = f"{folder}/model.zenwoq"
        config = transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)
        with torch.device("meta"):
            model = transformers.LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
        zenwoq.torch.load(model, path, mmap=True)
    elif kind == "save_pretrained":
        path = f"{folder}/model.safetensors"
        model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    else:
        path = f"{folder}/model.zwq" if kind == "zwq" else f"{folder}/gptq"
        model = zenwoq.torch.from_checkpoint(path, progress=False)
    whole = sum(m.packed.nbytes for m in model.modules() if isinstance(m, zenwoq.torch.Linear))
    before = private_bytes(path)
    by_rows = sum(
        type(m) is zenwoq.torch.Linear and "o_proj" not in name and "down" not in name
        for name, m in model.named_modules()
    )
    zenwoq.torch.parallelize(model, mesh_of(size))
    return whole, private_bytes(path) - before, by_rows, logits(model)


def with_shared_weights() -> torch.nn.Module:
    """A model in which two pairs of layers have one weight: both by rows, and one of them by columns."""
    model = model_of()
    model.model.layers[1].mlp.up_proj.packed = model.model.layers[1].mlp.gate_proj.packed
    model.model.layers[1].self_attn.o_proj.packed = model.model.layers[1].self_attn.q_proj.packed
    return model


def in_memory(rank: int, size: int) -> tuple:
    return (logits(zenwoq.torch.parallelize(with_shared_weights(), mesh_of(size))),)


@pytest.mark.parametrize("kind", ["save", "save_pretrained", "zwq"])
def test_a_mapped_model_is_cut_in_its_pages(kind, tmp_path):
    model = with_shared_weights()
    if kind == "save":
        zenwoq.torch.save(model, tmp_path / "model.zenwoq")
    elif kind == "save_pretrained":
        model.save_pretrained(tmp_path)
    else:
        as_gptq(model, tmp_path / "gptq")
        zenwoq.load(tmp_path / "gptq").convert(tmp_path / "model.zwq")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    on_disk = [file.read_bytes() for file in files]
    results = in_processes(mapped, 2, str(tmp_path), kind)
    for whole, written, by_rows, _ in results:
        assert by_rows == 10
        assert 0 < written <= by_rows * 3 * mmap.PAGESIZE < whole / 4, (written, whole)
    again = in_processes(mapped, 2, str(tmp_path), "gptq") if kind == "zwq" else in_processes(in_memory, 2)
    expected = again[0][-1]
    assert torch.equal(results[0][3], expected) and torch.equal(results[1][3], expected), "as of weights in memory"
    assert [file.read_bytes() for file in files] == on_disk


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
    (alive, pipe), (dead, gone) = start(dies, 2)
    with contextlib.suppress(EOFError):
        raise AssertionError(gone.recv_bytes())
    good, seconds = pickle.loads(pipe.recv_bytes())
    assert good, seconds
    assert seconds < TIMEOUT
    alive.join()
    dead.join()
    assert dead.exitcode == 3
