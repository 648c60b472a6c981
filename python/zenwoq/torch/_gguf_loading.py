# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Makes transformers keep the blocks of a GGUF file on CPUs, and refuse a file that does not fill the model.

transformers itself fills parameters that it finds no tensor for with random numbers, drops tensors that it finds no
place for, and mentions both in a log at most.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Collection, Iterator
from typing import Any

import torch

from zenwoq.torch._experts_shape import WEIGHTS
from zenwoq.torch._gguf import PACKED, is_gguf_experts, mark_experts, name_of
from zenwoq.torch._gguf_architectures import ARCHITECTURES, UNPACKED_EXPERTS, differing_gate
from zenwoq.torch._lfs import refuse_pointer
from zenwoq.torch._report import listed

_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}  # fmt: skip
_ROPE_FACTORS = "rope_freqs.weight"  # what a config's rope_parameters say in other words
_MOST_NAMES = 20  # in a message


class _BlocksOnCpu:
    """Takes the place of transformers' GGUF kernel: says which types stay packed, and computes by unpacking.

    Once it is no longer active, newly loaded models see no kernel, while layers still in blocks go on working.
    """

    active = True

    def __bool__(self) -> bool:
        return self.active

    def supports(self, ggml_type: int) -> bool:
        return int(ggml_type) in PACKED

    def mul_mat_vec(self, weight: torch.Tensor, x: torch.Tensor, ggml_type: int, out_features: int) -> torch.Tensor:
        from transformers.integrations.gguf.kernels import dequantize_blocks

        dense: torch.Tensor = dequantize_blocks(weight, ggml_type, out_features, x.shape[-1], x.dtype)
        return x @ dense.T

    def mul_mat_id(
        self, blocks: torch.Tensor, x: torch.Tensor, ids: torch.Tensor, ggml_type: int, out_features: int
    ) -> torch.Tensor:
        """Row i of x through each of the experts ids[i]."""
        result = x.new_empty((*ids.shape, out_features))
        for expert in ids.unique().tolist():
            row, choice = (ids == expert).nonzero(as_tuple=True)
            result[row, choice] = self.mul_mat_vec(blocks[expert], x[row], ggml_type, out_features)
        return result


def _check_file(reader: Any, path: str, data: Any) -> bool:
    """Raises ValueError for files that transformers takes for broken or for whole ones.

    Returns:
        Whether the file's model scales its rotary frequencies, which transformers does not read.
    """
    refuse_pointer(path)
    called = re.search(r"-(\d+)-of-(\d+)\.gguf$", path)
    if called is not None:  # later shards have no metadata that transformers' reader would take
        _refuse_shard(path, int(called[1]), int(called[2]))
    try:
        metadata, count, position = reader._read_metadata(data, path)
        _refuse_shard(path, metadata.get("split.no", 0) + 1, metadata.get("split.count", 1))
        tensors, end = reader._read_tensor_table(data, count, position)
        alignment = metadata.get("general.alignment", 32)
        begin = -(-end // alignment) * alignment
    except (ArithmeticError, IndexError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"{path}: its header is damaged or cut short ({error})") from error
    for name, shape, kind, offset in tensors:
        if kind in _REMOVED:
            raise ValueError(f"{path}: tensor {name} is {_REMOVED[kind]}, removed from GGUF: requantise the model")
        is_known = kind in reader.GGML_BLOCK or kind in reader._TORCH_DTYPE
        last = begin + offset + (reader._byte_count(kind, math.prod(shape), path) if is_known else 0)
        if last > len(data):
            raise ValueError(f"{path}: tensor {name} ends at byte {last}, the file has {len(data)}: it is cut short")
    scaling = f"{metadata['general.architecture']}.rope.scaling"
    scaled = metadata.get(f"{scaling}.type", "none") != "none" and metadata.get(f"{scaling}.factor") != 1
    return scaled or any(name == _ROPE_FACTORS for name, *_ in tensors)


def _refuse_shard(path: str, number: int, count: int) -> None:
    if count > 1:
        raise ValueError(
            f"{path}: is shard {number} of {count}, and transformers reads whole files only: join the shards with "
            f"llama-gguf-split --merge"
        )


class _PlacesAsked(dict[str, str]):
    """transformers' older table of GGUF names to the model's, which remembers the names that had no place."""

    def __init__(self, places: dict[str, str]):
        super().__init__(places)
        self.without_place: set[str] = set()

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        if not found and isinstance(name, str):
            self.without_place.add(name)
        return found


def _without_place(quantizer: Any, unexpected: Collection[str]) -> set[str]:
    """The file's names of what the loader found no place for."""
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    renamings = [entry for entry in quantizer.mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in quantizer.mapping if isinstance(entry, WeightConverter)]
    names = {rename_source_key(name, renamings, converters)[0]: name for name in quantizer.header.ggml_types}
    return {names.get(key, key) for key in unexpected}


def _check_filled(model: Any, path: str, info: Any, without_place: Collection[str], scaled: bool) -> None:
    """Raises ValueError unless each parameter came from the file, and each tensor of the file has a place."""
    missing = sorted(info.missing_and_mismatched())
    left = sorted(n for n in without_place if n != _ROPE_FACTORS and not _is_for_another_head(model, n))
    problems = [f"no tensor in the file for {listed(missing, _MOST_NAMES)}"] if missing else []
    if left:
        problems.append(f"no place in the model for {listed(left, _MOST_NAMES)}")
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if scaled and rope.get("rope_type", "default") == "default":
        problems.append(
            f"the file scales its rotary frequencies ({_ROPE_FACTORS} or rope.scaling), and the config does not: pass "
            f"config= with the rope_parameters of the original model"
        )
    if problems:
        raise ValueError(f"{path} does not fill a {type(model).__name__} of this config: {'; '.join(problems)}")


def _mark(model: Any, quantizer: Any) -> None:
    """Lets linears say what they compute in, as GgufEmbedding does, and what they were before they were unpacked."""
    for module in quantizer.packed_modules.values():
        module.compute_dtype = quantizer.dtype
    modules = dict(model.named_modules())
    of_experts: dict[str, list[str]] = {}
    for name, kind in quantizer.quantized.items():
        module = modules.get(name.removesuffix(".weight"))
        owner, _, own = name.rpartition(".")
        if kind not in PACKED and isinstance(module, torch.nn.Linear):
            vars(module)["unpacked_from"] = f"gguf {name_of(kind)}"
        elif own in WEIGHTS and owner in modules:
            of_experts.setdefault(owner, []).append(name_of(kind))
    for owner, kinds in of_experts.items():
        if not is_gguf_experts(modules[owner]):
            modules[owner].unpacked_from = f"gguf {', '.join(dict.fromkeys(kinds))}"


def _is_for_another_head(model: Any, name: str) -> bool:
    """Whether the tensor is the output projection, and the user chose a class that has none."""
    return re.match(r"output\.", name) is not None and model.get_output_embeddings() is None


@contextlib.contextmanager
def _replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(place)[name]
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextlib.contextmanager
def keep_gguf_packed() -> Iterator[None]:
    """While it is active, transformers keeps 4-bit weights of a GGUF file in their blocks.

    These are Q4_0, Q4_1, Q4_K, IQ4_NL and IQ4_XS. The Q5, Q6 and Q8 layers that files such as Q4_K_M have beside them
    are unpacked once, and the report of :func:`optimize` names them.

    transformers unpacks all of them at load if it finds no kernel for the device, as on CPUs, or does not know how to
    keep them for the architecture (Llama, Mixtral and Qwen3-MoE are added here; of a Mixtral pass the config, since its
    file says that it is a Llama); then there is nothing left for :func:`optimize` to take over exactly::

        with zenwoq.torch.keep_gguf_packed():
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, attn_implementation="sdpa")
        zenwoq.torch.optimize(model)

    Layers that stay in blocks work without zenwoq too, but slowly; the report of ``optimize`` names them. A layer's
    experts are kept in blocks if all of them are of these types, gate and up of the same. The head of a model that ties
    it to the embedding is packed for itself, while the embedding keeps its blocks. This changes settings of
    transformers that apply to all threads, so no other thread should load a GGUF file meanwhile.

    Raises:
        ImportError: this version of transformers has no packed GGUF layers, or loads them in an unknown way.
        ValueError: raised by ``from_pretrained`` meanwhile: a parameter of the model has no tensor in the file, or a
            tensor of the file has no place in the model (an architecture of another make, a config that does not fit),
            which the message names; the file is one shard of several, a git-lfs pointer, or has a tensor of a type that
            was removed from GGUF; gate and up of experts are of two types, and transformers would take them for one.
    """
    try:
        from transformers import PreTrainedModel
        from transformers import modeling_gguf_pytorch_utils as older
        from transformers.integrations.gguf import kernels, reader
        from transformers.integrations.gguf.gguf_conversion_mapping import GGUF_ARCHS
        from transformers.integrations.gguf.utils import GgufLinear  # noqa: F401
        from transformers.quantizers import quantizer_gguf
    except ImportError as error:
        raise ImportError("this version of transformers has no packed GGUF layers") from error
    try:
        finalize = PreTrainedModel._finalize_model_loading
        find_places = older.get_gguf_hf_weights_map
        mapped, *_ = reader._mapped, reader._read_metadata, reader._read_tensor_table, kernels._gguf_kernel
        _ = reader._byte_count, reader._TORCH_DTYPE, vars(reader)["GGML_BLOCK"]
        _ = vars(quantizer_gguf)["replace_with_gguf_modules"], quantizer_gguf.GgufHfQuantizer.read_header
    except (AttributeError, KeyError) as error:
        raise ImportError(f"this version of transformers loads GGUF files in an unknown way ({error})") from error
    asked = _PlacesAsked({})
    scaled: dict[str, bool] = {}  # by the paths of the files that are checked

    def places_of(*args: Any, **kwargs: Any) -> _PlacesAsked:
        nonlocal asked
        asked = _PlacesAsked(find_places(*args, **kwargs))
        return asked

    def checked_map(path: str) -> Any:
        data = mapped(path)
        if path not in scaled:
            scaled[path] = _check_file(reader, path, data)
        return data

    def checked_finalize(model: Any, load_config: Any, info: Any) -> Any:
        info = finalize(model, load_config, info)
        quantizer = load_config.hf_quantizer
        if not isinstance(quantizer, quantizer_gguf.GgufHfQuantizer):
            return info
        if quantizer.supported:
            path, without_place = quantizer.header.path, _without_place(quantizer, info.unexpected_keys)
        else:
            path, without_place = str(quantizer.quantization_config.gguf_file), asked.without_place
        _check_filled(model, path, info, without_place, scaled.get(path, False))
        _mark(model, quantizer)
        return info

    with (
        _blocks_kept(kernels, GGUF_ARCHS) as added,
        _experts_kept(quantizer_gguf, added),
        _replaced(reader, "_mapped", checked_map),
        _replaced(older, "get_gguf_hf_weights_map", places_of),
        _replaced(PreTrainedModel, "_finalize_model_loading", staticmethod(checked_finalize)),
    ):
        yield


@contextlib.contextmanager
def _blocks_kept(kernels: Any, known: dict[str, Any]) -> Iterator[set[str]]:
    """While it is active, transformers has a kernel, and knows some more architectures, which this gives."""
    added = {name: mapping for name, mapping in ARCHITECTURES.items() if name not in known}
    known.update(added)
    before, kernel = kernels._gguf_kernel, _BlocksOnCpu()
    kernels._gguf_kernel = kernel
    try:
        yield set(added)
    finally:
        kernel.active = False
        for name in added:
            del known[name]
        if before:
            kernels._gguf_kernel = before


@contextlib.contextmanager
def _experts_kept(quantizers: Any, added: Collection[str]) -> Iterator[None]:
    """While it is active, experts in blocks know what they are instead of, and are unpacked if gate and up differ."""
    swap, read_header = quantizers.replace_with_gguf_modules, quantizers.GgufHfQuantizer.read_header

    def marking_swap(model: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(model.named_modules())
        swapped = swap(model, *args, **kwargs)
        for name, module in model.named_modules():
            if is_gguf_experts(module):
                mark_experts(module, instead_of=before[name])
        return swapped

    def checked_header(quantizer: Any, path: str) -> None:
        read_header(quantizer, path)
        header = quantizer.header
        differing = differing_gate(header) if quantizer.supported else None
        if differing is None:
            return
        if header.architecture not in UNPACKED_EXPERTS.intersection(added):  # it would read both as up's type
            kinds = [name_of(header.ggml_types[name]) for name in differing]
            raise ValueError(
                f"{path}: {differing[0]} is {kinds[0]}, {differing[1]} {kinds[1]}, and they are one weight in the "
                f"model: quantize both to one type"
            )
        quantizer.supported = False

    with (
        _replaced(quantizers, "replace_with_gguf_modules", marking_swap),
        _replaced(quantizers.GgufHfQuantizer, "read_header", checked_header),
    ):
        yield
