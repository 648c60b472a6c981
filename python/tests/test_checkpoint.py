# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Optimised models in files: what is saved comes back, even into models without memory; hostile files are refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch
import zenwoq.torch
from conftest import configs, tiny_llama
from safetensors.torch import load_file, save_file
from torchao.quantization import quantize_


def optimised(flow: str = "intx-group") -> torch.nn.Module:
    model = tiny_llama()
    quantize_(model, configs(32)[flow]())
    zenwoq.torch.optimize(model, progress=False)
    return model


def skeleton() -> torch.nn.Module:
    with torch.device("meta"):
        return tiny_llama()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(12)[None]).logits


@pytest.mark.parametrize("flow", ["intx-group", "opaque"])
@pytest.mark.parametrize("mmap", [False, True])
def test_load_into_a_skeleton(tmp_path, flow, mmap):
    model = optimised(flow)
    path = tmp_path / "model.safetensors"
    zenwoq.torch.save(model, path)
    loaded = zenwoq.torch.load(skeleton(), path, mmap=mmap).eval()
    assert torch.equal(logits(loaded), logits(model))
    packed = [m.packed for m in loaded.modules() if isinstance(m, zenwoq.torch.Linear)]
    assert packed and all(p.data_ptr() % 64 == 0 for p in packed)
    # into a model that has memory, and into one that is optimised already
    assert torch.equal(logits(zenwoq.torch.load(tiny_llama(), path)), logits(model))
    assert torch.equal(logits(zenwoq.torch.load(optimised("intx-channel"), path)), logits(model))
    # any reader of safetensors sees the tensors
    assert torch.equal(load_file(path)["model.layers.0.mlp.up_proj.packed"], model.model.layers[0].mlp.up_proj.packed)


class Tied(torch.nn.Module):
    """A head that may have the embedding's weight, two linears, and one of them in a second place."""

    def __init__(self, tie: bool = True):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(32, 64), torch.nn.Linear(64, 32, bias=False)
        self.a, self.b = (torch.nn.Linear(64, 64, bias=False).bfloat16() for _ in range(2))
        self.again = self.a
        if tie:
            self.tie_weights()

    def tie_weights(self) -> None:
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("tied", [True, False])
def test_shared_weights_stay_shared(tmp_path, tied):
    model = Tied(tied)
    quantize_(model, configs(32)["intx-group"](), lambda m, name: name in ({"a", "b"} if tied else {"a", "b", "head"}))
    model.b.weight = model.a.weight
    zenwoq.torch.optimize(model, progress=False)
    zenwoq.torch.save(model, tmp_path / "tied.safetensors")
    seen = []
    with torch.device("meta"):
        empty = Tied()
    empty.a.register_forward_hook(lambda *_: seen.append(1))
    loaded = zenwoq.torch.load(empty, tmp_path / "tied.safetensors")
    assert loaded.a.packed is loaded.b.packed and loaded.again is loaded.a
    loaded.a(torch.ones(1, 64))
    assert seen == [1]
    assert torch.equal(loaded.embed.weight, model.embed.weight)
    assert not tied or loaded.head.weight is loaded.embed.weight
    assert loaded.state_dict().keys() == model.state_dict().keys()
    x = torch.randn(2, 64)
    assert torch.equal(loaded.head(x), model.head(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_dense_weights_comes_back(tmp_path, dtype):
    """T5 casts activations to the type of its dense weights; a model without memory is in float32."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=64)
    model = T5EncoderModel(config).to(dtype).eval()
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    zenwoq.torch.save(model, tmp_path / "t5.safetensors")
    with torch.device("meta"):
        empty = T5EncoderModel(config).eval()
    loaded = zenwoq.torch.load(empty, tmp_path / "t5.safetensors")
    with torch.no_grad():
        expected, y = (each(torch.arange(12)[None]).last_hidden_state for each in (model, loaded))
    assert y.dtype == dtype and torch.equal(y, expected)


def test_state_dict_through_plain_safetensors(tmp_path):
    model = optimised("opaque")
    path = tmp_path / "plain.safetensors"
    save_file(model.state_dict(), path)
    other = optimised("intx-channel")  # packed weights of another size
    other.load_state_dict(load_file(path))
    assert torch.equal(logits(other), logits(model))
    third = optimised("intx-channel")
    third.load_state_dict(load_file(path), assign=True)
    assert torch.equal(logits(third), logits(model))


def test_loading_is_quick(tmp_path):
    """Loading takes at most a tenth of the time to quantize and pack.

    The file is mapped, since a virtual machine may take 2 ms for each 2 MiB of memory that it never used before.
    """

    def linears() -> torch.nn.Sequential:
        return torch.nn.Sequential(*(torch.nn.Linear(2048, 2048, bias=False).bfloat16() for _ in range(8)))

    model = linears()
    start = time.perf_counter()
    quantize_(model, configs(128)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    made = time.perf_counter() - start
    path = tmp_path / "model.safetensors"
    zenwoq.torch.save(model, path)
    best = float("inf")
    x = torch.randn(1, 2048, dtype=torch.bfloat16)
    for _ in range(5):
        with torch.device("meta"):
            empty = linears()
        start = time.perf_counter()
        zenwoq.torch.load(empty, path, mmap=True)
        best = min(best, time.perf_counter() - start)
        assert torch.equal(empty(x), model(x))
    assert best <= made / 10, f"loaded in {best:.3f} s, made in {made:.3f} s"


def test_refusals(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="no zenwoq layer"):
        zenwoq.torch.save(tiny_llama(), path)
    model = optimised()
    zenwoq.torch.save(model, path)
    mixed = torch.nn.ModuleDict({"a": model.model.layers[0].mlp.up_proj, "b": torch.nn.Linear(64, 32).bfloat16()})
    quantize_(mixed, configs(32)["intx-group"]())
    with pytest.raises(ValueError, match=r"b\.weight is a"):
        zenwoq.torch.save(mixed, tmp_path / "mixed.safetensors")
    assert list(tmp_path.iterdir()) == [path]

    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="no checkpoint of zenwoq"):
        zenwoq.torch.load(skeleton(), other)
    with pytest.raises(ValueError, match=r"no layer|is of another model"):
        zenwoq.torch.load(torch.nn.Sequential(torch.nn.Linear(3, 3)), path)

    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    def with_header(changed: dict) -> None:
        text = json.dumps(changed).encode()
        other.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

    about = json.loads(header["__metadata__"]["zenwoq"])
    hidden = about["buffers"][0]

    def with_buffer(name: str) -> dict:
        return {"buffers": [*about["buffers"], name], "aliases": {**about["aliases"], name: hidden}}

    for change, message in (
        ({"version": 2}, "has version 2, this zenwoq reads 1"),
        ({"layers": 3}, "damaged"),
        ({"aliases": {"a": "nowhere"}}, "nowhere is named but missing"),
        ({"layers": {"model.layers.0.mlp.up_proj": [3, 128, "bfloat16"]}}, "the file has 3 x 128, the model 256 x 128"),
        (
            {"layers": {"model.layers.0.mlp.up_proj": [256, 128, "int4"]}},
            r"other\.safetensors: its entry .* is damaged",
        ),
        ({"layers": {"model.layers.0.mlp.up_proj": [float("inf"), 128, "bfloat16"]}}, "is damaged"),
        ({"layers": {"model.layers.0.mlp.up_proj": [256]}}, "is damaged"),
        ({"extra": [1]}, "is damaged"),
        ({"extra": {"model.norm._extra_state": 1}}, r"not in the model \['model.norm._extra_state'\]"),
        (with_buffer("more"), "the model has no buffer more"),
        (with_buffer("a.b"), r"the model has no a\.b"),
    ):
        metadata = {**header["__metadata__"], "zenwoq": json.dumps({**about, **change})}
        with_header({**header, "__metadata__": metadata})
        with pytest.raises(ValueError, match=message):
            zenwoq.torch.load(skeleton(), other)
    for text in ("[1, 2]", "7", "{", "[" * 100000):
        with_header({**header, "__metadata__": {**header["__metadata__"], "zenwoq": text}})
        with pytest.raises(ValueError, match=r"other\.safetensors: its entry 'zenwoq' is damaged"):
            zenwoq.torch.load(skeleton(), other)
    begin, _ = header["model.layers.0.mlp.up_proj.packed"]["data_offsets"]
    damaged = bytearray(data)
    damaged[8 + size + begin + 20] ^= 1
    other.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"up_proj\.packed"):
        zenwoq.torch.load(skeleton(), other)
    other.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        zenwoq.torch.load(skeleton(), other)


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    pointer = tmp_path / "model.safetensors"
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n")
    with pytest.raises(ValueError, match=r"model.safetensors: is a git-lfs pointer"):
        zenwoq.torch.load(torch.nn.Sequential(torch.nn.Linear(64, 64)), pointer)


class Noted(torch.nn.Module):
    """Has extra state."""

    def __init__(self, state: object = None):
        super().__init__()
        self.state = state

    def get_extra_state(self) -> object:
        return self.state

    def set_extra_state(self, state: object) -> None:
        self.state = state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def small(*more: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(4)
    return torch.nn.Sequential(torch.nn.Linear(64, 64).bfloat16(), torch.nn.LayerNorm(64).bfloat16(), *more)


def small_optimised(*more: torch.nn.Module) -> torch.nn.Module:
    model = small(*more)
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    return model


def assert_same_state(loaded: torch.nn.Module, model: torch.nn.Module) -> None:
    expected, state = model.state_dict(), loaded.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
        assert same(state[name], value) and type(state[name]) is type(value), name
        assert not isinstance(value, torch.Tensor) or state[name].dtype == value.dtype


@pytest.mark.parametrize(
    "cast",
    [
        lambda m: m.double(),
        lambda m: m.half(),
        lambda m: m.type(torch.bfloat16),
        lambda m: m.type("torch.FloatTensor"),
        lambda m: m.requires_grad_(False).type(torch.uint8),
        lambda m: m.to(torch.float8_e4m3fn),
        lambda m: m.to(torch.complex64),
        lambda m: m.requires_grad_(False).type(torch.bfloat16).type(torch.int16),
    ],
)
def test_a_model_that_was_cast_comes_back(tmp_path, cast):
    model = cast(small_optimised())
    zenwoq.torch.save(model, tmp_path / "model.st")
    with torch.device("meta"):
        empty = small()
    for each in (small(), empty):
        loaded = zenwoq.torch.load(each, tmp_path / "model.st")
        assert_same_state(loaded, model)
        assert loaded[0].weight.dtype == model[0].weight.dtype


@pytest.mark.parametrize(
    "state", [{"a": 1, "b": [None, True, 0.5, "x"]}, None, "text", 3, [], torch.tensor([1, 2]), torch.tensor(1j)]
)
def test_extra_state_comes_back(tmp_path, state):
    if isinstance(state, torch.Tensor):
        state = state.to(torch.complex64) if state.is_complex() else state
    model = small_optimised(Noted(state))
    zenwoq.torch.save(model, tmp_path / "model.st")
    loaded = zenwoq.torch.load(small(Noted("old")), tmp_path / "model.st")
    assert_same_state(loaded, model)


def test_buffers_of_every_type_come_back(tmp_path):
    class Buffers(torch.nn.Module):
        def __init__(self, persistent: bool, fill: bool = False):
            super().__init__()
            for dtype in zenwoq.torch._checkpoint.TYPE_NAMES:
                bits = torch.randint(0, 2 if dtype == torch.bool else 100, (3, 8 * dtype.itemsize), dtype=torch.uint8)
                value = bits.view(dtype) if fill else torch.empty(0, dtype=dtype)
                self.register_buffer(
                    f"b_{dtype}".replace(".", "_"), value if fill or not persistent else bits.view(dtype)
                )
                if not persistent:
                    self._non_persistent_buffers_set.add(f"b_{dtype}".replace(".", "_"))
            self.register_buffer("conj", torch.tensor([1 + 2j, 3j]).conj())
            self.register_buffer("conjugated", self.conj.conj())
            self.register_buffer("number", torch.tensor(7))

    assert len(zenwoq.torch._checkpoint.TYPE_NAMES) >= 18
    for persistent in (True, False):
        model = small_optimised(Buffers(persistent, True))
        zenwoq.torch.save(model, tmp_path / "model.st")
        loaded = zenwoq.torch.load(small(Buffers(persistent)), tmp_path / "model.st")
        assert_same_state(loaded, model)
        for name, buffer in model.named_buffers():  # those that are not in state_dict have grown, too
            found = loaded.get_buffer(name)
            assert found.dtype == buffer.dtype and found.shape == buffer.shape, name
            bits = [each.resolve_conj().reshape(-1).view(torch.uint8) for each in (found, buffer)]
            assert torch.equal(*bits), name
        assert torch.equal(loaded[2].conjugated, loaded[2].conj.conj())


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path):
    def refuse(model: torch.nn.Module, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            zenwoq.torch.save(model, tmp_path / "model.st")

    for state in ({1: 2}, (1, 2), {"t": torch.ones(1)}, float("nan"), object(), b"bytes"):
        refuse(small_optimised(Noted(state)), r"2\._extra_state is a .* that is neither a tensor nor JSON's")

    def with_buffer(value: torch.Tensor) -> torch.nn.Module:
        module = torch.nn.Module()
        module.register_buffer("value", value)
        return small_optimised(module)

    refuse(with_buffer(torch.zeros(2, dtype=torch.complex128)), r"2\.value is a Tensor of torch\.complex128")
    refuse(with_buffer(torch.eye(3).to_sparse()), r"2\.value is a Tensor of torch\.float32 torch\.sparse_coo")
    refuse(with_buffer(torch.zeros(2, device="meta")), r"2\.value is on meta, must be on the CPU")
    refuse(small_optimised().append(torch.nn.LazyLinear(3)), r"2\.weight is a UninitializedParameter")
    bare = small_optimised()
    bare[0].bias = None
    refuse(torch.nn.Sequential(bare[0].to(torch.complex128)), r"0\.weight stands for torch\.complex128")
    refuse(small_optimised().to("meta"), r"is on meta, must be on the CPU")
    refuse(small_optimised().to_empty(device="cpu"), r"0\.packed cannot be saved: packed weight: ")
    damaged = small_optimised()
    damaged[0].out_features = 65
    refuse(damaged, r"0\.packed cannot be saved: 64 in and 64 out features, the layer has 64 and 65")
    assert list(tmp_path.iterdir()) == []


def compiled(model: torch.nn.Module) -> Any:
    return torch.compile(model, backend="eager")


WRAPPERS: dict[str, Any] = {
    "compile": compiled,
    "DataParallel": torch.nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "both": lambda m: torch.nn.DataParallel(compiled(m)),
    "a layer": lambda m: torch.nn.Sequential(compiled(m[0]), *m[1:]),
    "none": lambda m: m,
}


@pytest.mark.parametrize("saved", WRAPPERS)
@pytest.mark.parametrize("loaded", WRAPPERS)
def test_wrapped_models(tmp_path, saved, loaded):
    """compile, then save, is the order that the README has; what is in the wrapper is what is saved."""
    model = small_optimised()
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    wrapped = WRAPPERS[saved](model)
    zenwoq.torch.save(wrapped, tmp_path / "model.st")
    assert sorted(load_file(tmp_path / "model.st")) == sorted(model.state_dict())
    target = WRAPPERS[loaded](small())
    with torch.no_grad():
        assert torch.equal(zenwoq.torch.load(target, tmp_path / "model.st")(x), model(x))


def test_a_child_that_is_called_module(tmp_path):
    class Holder(torch.nn.Module):
        def __init__(self, module: torch.nn.Module):
            super().__init__()
            self.module = module

    model = Holder(small_optimised())
    zenwoq.torch.save(model, tmp_path / "model.st")
    assert "module.0.packed" in load_file(tmp_path / "model.st")
    assert_same_state(zenwoq.torch.load(Holder(small()), tmp_path / "model.st"), model)


def test_names_of_compiled_models_in_older_files(tmp_path):
    model = small_optimised()
    zenwoq.torch.save(model, tmp_path / "model.st")
    data = (tmp_path / "model.st").read_bytes()
    size = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + size].decode()
    for name in ("0", "1"):  # in the header, and in its entry, where quotes are escaped
        text = text.replace(f'"{name}.', f'"_orig_mod.{name}.').replace(f'\\"{name}\\"', f'\\"_orig_mod.{name}\\"')
    assert "_orig_mod.0.packed" in text and '\\"_orig_mod.0\\"' in text
    (tmp_path / "old.st").write_bytes(len(text).to_bytes(8, "little") + text.encode() + data[8 + size :])
    assert_same_state(zenwoq.torch.load(small(), tmp_path / "old.st"), model)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_that_is_one_linear(tmp_path, compiled):
    layer = small_optimised()[0]
    zenwoq.torch.save(torch.compile(layer, backend="eager") if compiled else layer, tmp_path / "layer.st")
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    targets: list[Any] = [small()[0], layer, torch.compile(small()[0], backend="eager")]
    for target in targets:
        with torch.no_grad():
            assert torch.equal(zenwoq.torch.load(target, tmp_path / "layer.st")(x), layer(x))


def test_an_embedding_in_gguf_blocks_comes_back_dense(tmp_path):
    utils = pytest.importorskip("transformers.integrations.gguf.utils")

    def model(embedding: torch.nn.Module) -> torch.nn.Module:
        return torch.nn.Sequential(embedding, *small_optimised())

    blocks = utils.GgufEmbedding(40, 64, 2, torch.bfloat16)
    scales = torch.rand(40, 2, 1).half().view(torch.uint8)
    codes = torch.randint(0, 256, (40, 2, 16), dtype=torch.uint8)
    blocks.weight.data = torch.cat((scales, codes), dim=2).reshape(40, 36)
    packed = model(blocks)
    zenwoq.torch.save(packed, tmp_path / "model.st")
    loaded = zenwoq.torch.load(model(torch.nn.Embedding(40, 64)), tmp_path / "model.st")
    with torch.no_grad():
        assert torch.equal(loaded(torch.arange(40)), packed(torch.arange(40)))
    # and into a model that has it in blocks, as that which was saved; in two places it stays one
    again = model(utils.GgufEmbedding(40, 64, 2, torch.bfloat16))
    again = zenwoq.torch.load(again, tmp_path / "model.st")
    with torch.no_grad():
        assert type(again[0]) is torch.nn.Embedding
        assert torch.equal(again(torch.arange(40)), packed(torch.arange(40)))
    with pytest.raises(ValueError, match=r"size mismatch for 0\.weight"):
        zenwoq.torch.load(model(utils.GgufEmbedding(41, 64, 2, torch.bfloat16)), tmp_path / "model.st")
    experts = utils.GgufExperts(2, 64, 64, 2, 3, torch.nn.SiLU())
    for odd, name in ((utils.GgufLinear(64, 64, 2, True), "weight"), (experts, "gate_up_proj")):
        with pytest.raises(ValueError, match=rf"3\.{name} is in the blocks of a GGUF file"):
            zenwoq.torch.save(torch.nn.Sequential(*packed, odd), tmp_path / "odd.st")
    assert not (tmp_path / "odd.st").exists()
    expected = blocks(torch.arange(40)).float()
    dense = zenwoq.torch.restore(packed, dtype=torch.float32)
    assert type(dense[0]) is torch.nn.Embedding and dense[0].weight.requires_grad
    assert torch.equal(dense[0](torch.arange(40)), expected)
