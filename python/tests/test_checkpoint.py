# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Optimised models in files: what is saved comes back, even into models without memory; hostile files are refused."""

from __future__ import annotations

import json
import time

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
    with_header({**header, hidden: {**header[hidden], "shape": [2, 8]}})
    with pytest.raises(ValueError, match=rf"{hidden}: the file has \[2, 8\]"):
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
