# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Writes tiny models in every 4-bit format, each beside a dense one of the very values that its file holds.

    python python/tests/vllm/models.py FOLDER [NAME...]     all of them, or those of a list that --help prints

Codes, scales and zero points are drawn, not quantized from something, and packed by hand. Scales have four significant
bits, so that a value is exact in bfloat16, except in gptq-fine. The weights are large enough that every token depends
on what came before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

HIDDEN, HEAD, HEADS, KV_HEADS, VOCABULARY = 256, 64, 4, 2, 512
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which column each nibble holds, the lowest first
IN_ORDER = tuple(range(8))
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass
class Format:
    """How the linears of a model are stored: group -1 is a whole row, pack gives the tensors of one of them."""

    pack: Callable[[Linear], Tensors]
    config: dict[str, Any]
    group: int = 64
    zeros: bool = False
    act_order: bool = False
    fine: bool = False


@dataclasses.dataclass
class Linear:
    """Values scales * (codes - zeros), of which column k has the group groups[k]."""

    codes: torch.Tensor  # [N, K], 0..15
    scales: torch.Tensor  # [N, G], float32
    zeros: torch.Tensor  # [N, G], 8 where the format is symmetric
    groups: torch.Tensor  # [K]

    def dense(self) -> torch.Tensor:
        scales, zeros = self.scales[:, self.groups], self.zeros[:, self.groups]
        return scales * (self.codes - zeros).float()


def draw(shape: tuple[int, int], form: Format, generator: torch.Generator) -> Linear:
    n, k = shape
    group = k if form.group == -1 else form.group
    codes = torch.randint(0, 16, (n, k), generator=generator)
    # Codes have the deviation 4.6, integers of 8..15 the mean 11.5: rows of a product are about as large as those that
    # come in.
    steps = torch.randint(8, 16, (n, k // group), generator=generator).float()
    if form.fine:
        steps = (8 + 8 * torch.rand(steps.shape, generator=generator)).half().float()
    scales = steps * 2.0 ** round(math.log2(1.4 / (4.6 * 11.5 * k**0.5)))
    zeros = torch.full_like(scales, 8, dtype=torch.int64)
    if form.zeros:
        zeros = torch.randint(5, 12, scales.shape, generator=generator)
    order = torch.randperm(k, generator=generator) if form.act_order else torch.arange(k)
    return Linear(codes, scales, zeros, order // group)


def nibbles(values: torch.Tensor, dim: int, order: tuple[int, ...] = IN_ORDER) -> torch.Tensor:
    """Eight values along dim in an int32, order[0] in its lowest bits."""
    eights = values.movedim(dim, -1).unflatten(-1, (-1, 8))[..., list(order)]
    words = (eights << (4 * torch.arange(8))).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32).movedim(-1, dim).contiguous()


def compressed_tensors(linear: Linear) -> Tensors:
    tensors = {
        "weight_packed": nibbles(linear.codes, 1),
        "weight_scale": linear.scales.bfloat16(),
        "weight_shape": torch.tensor(linear.codes.shape),
    }
    if bool((linear.zeros != 8).any()):
        tensors["weight_zero_point"] = nibbles(linear.zeros, 0)
    return tensors


def gptq(linear: Linear, stored_less: int = 1) -> Tensors:
    return {
        "qweight": nibbles(linear.codes.T, 0),
        "scales": linear.scales.T.half().contiguous(),
        "qzeros": nibbles(linear.zeros.T - stored_less, 1),
        "g_idx": linear.groups.to(torch.int32),
    }


def awq(linear: Linear) -> Tensors:
    return {
        "qweight": nibbles(linear.codes.T, 1, AWQ_ORDER),
        "scales": linear.scales.T.half().contiguous(),
        "qzeros": nibbles(linear.zeros.T, 1, AWQ_ORDER),
    }


def quark(linear: Linear, flip: int = 0) -> Tensors:
    return {
        "weight": nibbles(linear.codes.T ^ flip, 1, AWQ_ORDER),
        "weight_scale": linear.scales.T.bfloat16().contiguous(),
        "weight_zero_point": nibbles(linear.zeros.T ^ flip, 1, AWQ_ORDER),
    }


def of_compressed_tensors(group: int, symmetric: bool, activations: dict[str, Any] | None = None) -> Format:
    weights = {
        "num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "channel" if group == -1 else "group",
        "group_size": None if group == -1 else group, "dynamic": False, "observer": "minmax", "actorder": None,
        "block_structure": None, "observer_kwargs": {},
    }  # fmt: skip
    config = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head", "re:.*gate$"], "kv_cache_scheme": None, "global_compression_ratio": None,
        "config_groups": {"group_0": {
            "targets": ["Linear"], "input_activations": activations, "output_activations": None, "weights": weights,
        }},
    }  # fmt: skip
    return Format(compressed_tensors, config, group, zeros=not symmetric)


def of_gptq(group: int = 64, **others: Any) -> Format:
    config = {
        "quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": False, "sym": True, "lm_head": False,
        "checkpoint_format": "gptq",
    } | others  # fmt: skip
    return Format(gptq, config, group, zeros=not config["sym"], act_order=config["desc_act"])


def of_awq() -> Format:
    config = {
        "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None,
    }  # fmt: skip
    return Format(awq, config, zeros=True)


def of_auto_round(packing: str, pack: Callable[[Linear], Tensors], symmetric: bool) -> Format:
    config = {
        "quant_method": "auto-round", "bits": 4, "group_size": 64, "sym": symmetric, "data_type": "int",
        "packing_format": packing, "autoround_version": "0.16.1",
    }  # fmt: skip
    return Format(pack, config, zeros=not symmetric)


def of_quark(symmetric: bool) -> Format:
    weight = {
        "dtype": "int4" if symmetric else "uint4", "is_dynamic": False, "qscheme": "per_group", "group_size": 64,
        "symmetric": symmetric, "ch_axis": -1, "scale_type": "float", "round_method": "half_even",
    }  # fmt: skip
    config = {
        "quant_method": "quark", "exclude": ["lm_head"], "layer_quant_config": {}, "layer_type_quant_config": {},
        "global_quant_config": {"weight": weight, "input_tensors": None, "output_tensors": None, "bias": None},
        "export": {"kv_cache_group": [], "pack_method": "reorder", "weight_format": "real_quantized"},
    }  # fmt: skip
    return Format(lambda linear: quark(linear, 8 if symmetric else 0), config, zeros=not symmetric)


def torchao(linear: Linear) -> Tensors:
    return {
        "_weight_qdata": (linear.codes - 8).to(torch.int8),
        "_weight_scale": linear.scales.bfloat16(),
        "_weight_zero_point": (linear.zeros - 8).to(torch.int8),
    }


def of_torchao(weight_dtype: str = "int4") -> Format:
    data = {
        "weight_dtype": {"_type": "torch.dtype", "_data": weight_dtype}, "scale_dtype": None,
        "granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 64}},
        "mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"},
    }  # fmt: skip
    rule = {"_type": "IntxWeightOnlyConfig", "_version": 2, "_data": data}
    config = {"quant_method": "torchao", "quant_type": {"default": rule}, "modules_to_not_convert": None}
    return Format(torchao, config)


INT8_ACTIVATIONS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
FORMATS = {
    "ct-32": of_compressed_tensors(32, True),
    "ct-64": of_compressed_tensors(64, True),
    "ct-asymmetric": of_compressed_tensors(64, False),
    "ct-channel": of_compressed_tensors(-1, True),
    "ct-int8-activations": of_compressed_tensors(-1, True, INT8_ACTIVATIONS),
    "gptq": of_gptq(),
    "gptq-channel": of_gptq(-1),
    "gptq-fine": dataclasses.replace(of_gptq(), fine=True),
    "gptq-asymmetric": of_gptq(sym=False),
    "gptq-v2": dataclasses.replace(
        of_gptq(sym=False, checkpoint_format="gptq_v2"), pack=lambda linear: gptq(linear, stored_less=0)
    ),
    "gptq-act-order": of_gptq(desc_act=True),
    "awq": of_awq(),
    "auto-round": of_auto_round("auto_round:auto_gptq", gptq, True),
    "auto-round-awq": of_auto_round("auto_round:auto_awq", awq, False),
    "quark": of_quark(True),
    "quark-asymmetric": of_quark(False),
    "torchao": of_torchao(),
}
EXPERTS = {"ct": "ct-64", "ct-asymmetric": "ct-asymmetric", "gptq": "gptq", "awq": "awq"}


class Model:
    """The tensors of a checkpoint and those of the dense one beside it, as they are drawn."""

    def __init__(self, config: transformers.PretrainedConfig, form: Format, seed: int) -> None:
        self.config = config
        self.form = form
        self.generator = torch.Generator().manual_seed(seed)
        self.stored: Tensors = {}
        self.dense: Tensors = {}
        self.linears: dict[str, Linear] = {}

    def linear(self, name: str, n: int, k: int) -> None:
        self.linears[name] = linear = draw((n, k), self.form, self.generator)
        self.stored |= {f"{name}.{part}": tensor for part, tensor in self.form.pack(linear).items()}
        values = linear.dense()
        self.dense[f"{name}.weight"] = values if self.form.fine else exactly(values)

    def plain(self, name: str, *shape: int, deviation: float = 1.0, mean: float = 0.0) -> None:
        values = torch.randn(shape, generator=self.generator) * deviation + mean
        self.stored[name] = self.dense[name] = values.bfloat16()

    def attention(self, name: str, linear: Callable[[str, int, int], None]) -> None:
        linear(f"{name}.q_proj", HEADS * HEAD, HIDDEN)
        linear(f"{name}.k_proj", KV_HEADS * HEAD, HIDDEN)
        linear(f"{name}.v_proj", KV_HEADS * HEAD, HIDDEN)
        linear(f"{name}.o_proj", HIDDEN, HEADS * HEAD)

    def shell(self) -> None:
        """All that is not in a layer, and the norms."""
        self.plain("model.embed_tokens.weight", VOCABULARY, HIDDEN)
        self.plain("model.norm.weight", HIDDEN, deviation=0.1, mean=1)
        self.plain("lm_head.weight", VOCABULARY, HIDDEN, deviation=0.25)
        for layer in range(self.config.num_hidden_layers):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                self.plain(f"model.layers.{layer}.{norm}.weight", HIDDEN, deviation=0.1, mean=1)


def exactly(values: torch.Tensor) -> torch.Tensor:
    assert torch.equal(values.bfloat16().float(), values), "a value that is not exact in bfloat16"
    return values.bfloat16()


def sizes(**others: Any) -> dict[str, Any]:
    return {
        "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD, "vocab_size": VOCABULARY, "max_position_embeddings": 32768, "tie_word_embeddings": False,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "dtype": "bfloat16",
    } | others  # fmt: skip


def llama(form: Format, seed: int) -> Model:
    intermediate = 512
    model = Model(transformers.LlamaConfig(**sizes(intermediate_size=intermediate)), form, seed)
    model.shell()
    for layer in range(model.config.num_hidden_layers):
        name = f"model.layers.{layer}"
        model.attention(f"{name}.self_attn", model.linear)
        model.linear(f"{name}.mlp.gate_proj", intermediate, HIDDEN)
        model.linear(f"{name}.mlp.up_proj", intermediate, HIDDEN)
        model.linear(f"{name}.mlp.down_proj", HIDDEN, intermediate)
    return model


def mixtral(form: Format, seed: int) -> Model:
    intermediate, experts = 256, 4
    config = transformers.MixtralConfig(
        **sizes(intermediate_size=intermediate, num_local_experts=experts, num_experts_per_tok=2, sliding_window=None)
    )
    model = Model(config, form, seed)
    model.shell()
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}"
        model.attention(f"{name}.self_attn", model.linear)
        model.plain(f"{name}.block_sparse_moe.gate.weight", experts, HIDDEN, deviation=0.25)
        for expert in range(experts):
            model.linear(f"{name}.block_sparse_moe.experts.{expert}.w1", intermediate, HIDDEN)
            model.linear(f"{name}.block_sparse_moe.experts.{expert}.w3", intermediate, HIDDEN)
            model.linear(f"{name}.block_sparse_moe.experts.{expert}.w2", HIDDEN, intermediate)
    return model


def qwen3_moe(form: Format, seed: int) -> Model:
    intermediate, experts = 128, 8
    config = transformers.Qwen3MoeConfig(
        **sizes(
            intermediate_size=512, moe_intermediate_size=intermediate, num_experts=experts, num_experts_per_tok=3,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
        )
    )  # fmt: skip
    model = Model(config, form, seed)
    model.shell()
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}"
        model.attention(f"{name}.self_attn", model.linear)
        for norm in ("q_norm", "k_norm"):
            model.plain(f"{name}.self_attn.{norm}.weight", HEAD, deviation=0.1, mean=1)
        model.plain(f"{name}.mlp.gate.weight", experts, HIDDEN, deviation=0.25)
        for expert in range(experts):
            model.linear(f"{name}.mlp.experts.{expert}.gate_proj", intermediate, HIDDEN)
            model.linear(f"{name}.mlp.experts.{expert}.up_proj", intermediate, HIDDEN)
            model.linear(f"{name}.mlp.experts.{expert}.down_proj", HIDDEN, intermediate)
    return model


MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def gpt_oss(form: Format, seed: int) -> Model:
    """Experts in MXFP4, the rest in bfloat16."""
    intermediate, experts = 96, 4  # three groups of 32: two processes share them unevenly
    config = transformers.GptOssConfig(
        **sizes(
            intermediate_size=intermediate, num_local_experts=experts, num_experts_per_tok=2, sliding_window=128,
            layer_types=["sliding_attention", "full_attention"], max_position_embeddings=131072,
        )
    )  # fmt: skip
    model = Model(config, form, seed)
    model.shell()

    def biased(name: str, n: int, k: int) -> None:
        model.plain(f"{name}.weight", n, k, deviation=1.4 / k**0.5)
        model.plain(f"{name}.bias", n, deviation=0.2)

    def blocks(name: str, n: int, k: int) -> None:
        codes = torch.randint(0, 16, (experts, n, k // 32, 32), generator=model.generator)
        exponents = torch.randint(120, 123, (experts, n, k // 32), generator=model.generator)
        pairs = codes.unflatten(-1, (16, 2))
        model.stored[f"{name}_blocks"] = (pairs[..., 0] | pairs[..., 1] << 4).to(torch.uint8)
        model.stored[f"{name}_scales"] = exponents.to(torch.uint8)
        values = torch.ldexp(E2M1[codes], exponents[..., None] - 127).flatten(2)
        model.dense[name] = exactly(values).mT.contiguous()
        model.plain(f"{name}_bias", experts, n, deviation=0.2)

    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}"
        model.attention(f"{name}.self_attn", biased)
        model.plain(f"{name}.self_attn.sinks", HEADS)
        biased(f"{name}.mlp.router", experts, HIDDEN)
        blocks(f"{name}.mlp.experts.gate_up_proj", 2 * intermediate, HIDDEN)
        blocks(f"{name}.mlp.experts.down_proj", HIDDEN, intermediate)
    return model


def all_models() -> dict[str, tuple[Callable[[Format, int], Model], Format]]:
    made: dict[str, tuple[Callable[[Format, int], Model], Format]] = {name: (llama, FORMATS[name]) for name in FORMATS}
    made |= {f"mixtral-{name}": (mixtral, FORMATS[form]) for name, form in EXPERTS.items()}
    made |= {f"qwen3-moe-{name}": (qwen3_moe, FORMATS[form]) for name, form in EXPERTS.items()}
    return made | {"gpt-oss": (gpt_oss, Format(lambda _: {}, MXFP4))}


MODELS = all_models()
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Bytes, pairs of frequent letters, and a few special tokens: 512 in all."""
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    names = special + sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    letters = "etaoinshrdlucmfw"
    pairs = [(a, b) for a in letters for b in letters][: VOCABULARY - len(names)]
    names += [a + b for a, b in pairs]
    bpe = tokenizers.models.BPE({name: index for index, name in enumerate(names)}, pairs)
    made = tokenizers.Tokenizer(bpe)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=special[0], eos_token=special[1], pad_token=special[2],
        chat_template=CHAT_TEMPLATE, model_max_length=2048,
    )  # fmt: skip


def save(folder: Path, model: Model, tensors: Tensors, quantization: dict[str, Any] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save_pretrained(folder)
    config = model.config.to_dict()
    config["architectures"] = [transformers.AutoModelForCausalLM._model_mapping[type(model.config)].__name__]
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def drawn(name: str, seed: int = 1) -> Model:
    make, form = MODELS[name]
    return make(form, seed)


def write(folder: Path, name: str, seed: int = 1) -> tuple[Path, Path]:
    """Writes folder/NAME and folder/NAME-dense, and gives both."""
    model = drawn(name, seed)
    stored, dense = folder / name, folder / f"{name}-dense"
    save(stored, model, model.stored, model.form.config)
    save(dense, model, model.dense, None)
    return stored, dense


def main() -> None:
    parser = argparse.ArgumentParser(description="names: " + " ".join(MODELS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", nargs="*", metavar="NAME", help="which models; all of them if none is named")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.name or MODELS:
        for made in write(arguments.folder, name, arguments.seed):
            print(made)


if __name__ == "__main__":
    main()
