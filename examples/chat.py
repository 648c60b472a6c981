#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Talks with SmolLM2-135M-Instruct, whose 4-bit linears run on zenwoq.

    pip install . "transformers>=5.24" accelerate gguf torchao==0.17.0
    python examples/chat.py                                               # a conversation; an empty line ends it
    python examples/chat.py --prompt "Why is the sky blue?" --compile     # one answer

--quantize gguf takes the 4-bit weights of the GGUF file as they are; with the others TorchAO quantizes them anew.
The file is the one that tools/quickstart.sh fetches.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logging.disable(logging.WARNING)  # TorchAO names every GPU library that it does not find
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import torch
import transformers
import zenwoq.torch
from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup, quantize_
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

try:
    from torchao.prototype.quantization.int4 import Int4WeightOnlyOpaqueTensorConfig
except ImportError:  # its name since torchao 0.18
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig as Int4WeightOnlyOpaqueTensorConfig

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
MODEL = CACHE / "zenwoq" / "SmolLM2-135M-Instruct.Q4_1.gguf"

INT4 = {"weight_dtype": torch.int4, "mapping_type": MappingType.SYMMETRIC, "scale_dtype": torch.bfloat16}
CONFIGS: dict[str, Any] = {  # groups of 64: the model's K of 576 is no multiple of 128
    "intx-group": IntxWeightOnlyConfig(**INT4, granularity=PerGroup(64)),
    "intx-channel": IntxWeightOnlyConfig(**INT4, granularity=PerAxis(0)),
    "opaque": Int4WeightOnlyOpaqueTensorConfig(group_size=64),
}


# The last linear is dense. torch's own kernel reads it at half the speed of memory, one of inductor's does not.
LM_HEAD = {"max_autotune_gemm": True, "max_autotune_gemm_backends": "CPP,ATEN", "autotune_num_choices_displayed": 0}


def load(path: Path, quantize: str, backend: str) -> Any:
    """The model, its linears quantized, and on zenwoq if that is the backend; its activations are bf16.

    Only zenwoq runs the file's own 4-bit weights: for the other backends transformers unpacks them to bf16.
    """
    keep = quantize == "gguf" and backend == "zenwoq"
    with zenwoq.torch.keep_gguf_packed() if keep else contextlib.nullcontext():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    if quantize != "gguf":  # all linears but the last, as transformers' TorchAoConfig does
        quantize_(model, CONFIGS[quantize], lambda layer, name: type(layer) is torch.nn.Linear and name != "lm_head")
    if backend == "zenwoq":
        print(zenwoq.torch.optimize(model).summary(), file=sys.stderr)
    return model.eval()


def grouped_attention(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
    """transformers' attention, but for one token the query heads that share a cached head are rows of one product.

    transformers does the same only where it is not compiled; else it copies the cache once a query head.

    Args:
        q: ``[batch, heads, tokens, dim]``.
        k, v: ``[batch, cached heads, length, dim]``.

    Returns:
        ``[batch, tokens, heads, dim]``, and None.
    """
    batch, heads, tokens, dim = q.shape
    if tokens != 1:
        return sdpa_attention_forward(module, q, k, v, mask, **options)
    rows = q.reshape(batch, k.shape[1], heads // k.shape[1], dim)
    y = torch.nn.functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=options["scaling"])
    return y.reshape(batch, 1, heads, dim), None


def compile_forward(model: Any, forward: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """A forward of the model as one graph for inputs of one shape: weights are constants, guards are not checked."""
    if backend == "zentorch":
        import zentorch  # noqa: F401 - registers its backend
    transformers.AttentionInterface.register("grouped", grouped_attention)
    transformers.AttentionMaskInterface.register("grouped", sdpa_mask)
    model.set_attn_implementation("grouped")
    torch._inductor.config.freezing = True
    return torch.compile(
        forward,
        backend="zentorch" if backend == "zentorch" else "inductor",
        fullgraph=True,
        dynamic=False,
        options={
            "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
            **({} if backend == "zentorch" else LM_HEAD),  # it takes no options of its own
        },
    )


@dataclass
class Chat:
    """A model, what runs it for one token (the model itself or its compiled form), and a cache of fixed length."""

    model: Any
    step: Callable[..., Any]
    cache: Any
    length: int

    @torch.no_grad()
    def generate(self, prompt: torch.Tensor, limit: int) -> Iterator[int]:
        """The likeliest token after a prompt ``[1, tokens]``, the one after that, and so on: at most `limit`."""
        self.cache.reset()
        run, ids = self.model, prompt
        for _ in range(min(limit, self.length - prompt.shape[1] + 1)):
            ids = run(input_ids=ids, cache=self.cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            run = self.step
            yield int(ids)


def start(model: Any, backend: str, length: int, compiled: bool) -> Chat:
    """Makes the cache for so many tokens, generates and compiles code."""
    began = time.perf_counter()
    step = compile_forward(model, model, backend) if compiled else model
    chat = Chat(model, step, transformers.StaticCache(config=model.config, max_cache_len=length), length)
    list(chat.generate(torch.zeros((1, 8), dtype=torch.long), 3))
    print(f"warm after {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return chat


def answer(chat: Chat, tokenizer: Any, messages: list[dict[str, str]], limit: int) -> str:
    """Prints the answer while it is generated, then the speed; returns the answer."""
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    streamer = transformers.TextStreamer(tokenizer, skip_special_tokens=True)
    tokens: list[int] = []
    times = [time.perf_counter()]
    for token in chat.generate(prompt, limit):
        times.append(time.perf_counter())
        tokens.append(token)
        streamer.put(torch.tensor([token]))
        if token == tokenizer.eos_token_id:
            break
    if not tokens:
        sys.exit(f"the conversation has {prompt.shape[1]} tokens, --context is {chat.length}")
    streamer.end()
    prefill, decode = times[1] - times[0], times[-1] - times[1]
    decoded = f", decode {(len(tokens) - 1) / decode:.1f} tokens/s ({len(tokens) - 1})" if decode else ""
    print(f"[prefill {prompt.shape[1] / prefill:.1f} tokens/s ({prompt.shape[1]}){decoded}]", flush=True)
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def positive(text: str) -> int:
    """A number of the command line."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["zenwoq", "eager", "zentorch"], default="zenwoq")
    parser.add_argument("--quantize", choices=["gguf", *CONFIGS], default="gguf")
    parser.add_argument("--compile", action="store_true", help="compile the decoding of a token (zentorch always does)")
    parser.add_argument("--prompt", help="answer this and end")
    parser.add_argument("--max-new-tokens", type=positive, default=200)
    parser.add_argument("--context", type=positive, default=512, help="tokens that a conversation may have")
    parser.add_argument("--threads", type=positive, help="default: as torch chooses")
    parser.add_argument("--model", type=Path, default=MODEL, help="GGUF file of a Llama")
    return parser.parse_args()


def main() -> None:
    """Answers the prompt, or whatever is typed."""
    args = parse()
    if not args.model.exists():
        sys.exit(f"{args.model} is missing: tools/quickstart.sh fetches it")
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.logging.disable_progress_bar()
    model = load(args.model, args.quantize, args.backend)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model.parent, gguf_file=args.model.name)
    chat = start(model, args.backend, args.context, args.compile or args.backend == "zentorch")
    messages: list[dict[str, str]] = []
    while text := args.prompt or input("> "):
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": answer(chat, tokenizer, messages, args.max_new_tokens)})
        if args.prompt:
            break


if __name__ == "__main__":
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        main()
