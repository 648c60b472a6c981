#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Talks with SmolLM2-135M-Instruct, whose 4-bit linears run on zenwoq.

    pip install . "transformers>=5.24" accelerate gguf torchao==0.17.0
    python examples/chat.py                                               # a conversation; an empty line ends it
    python examples/chat.py --prompt "Why is the sky blue?" --compile     # one answer
    python examples/chat.py --save folder                                 # keeps the packed model as transformers does
    python examples/chat.py --model folder                                # and has it back without quantizing again

--quantize gguf takes the 4-bit weights of the GGUF file as they are; with other choices TorchAO quantizes them anew.
The file is the one that tools/fetch_model.sh fetches.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

logging.disable(logging.WARNING)  # TorchAO warns about every GPU library that it does not find
os.environ["TQDM_DISABLE"] = "1"

import torch
import transformers
import zenwoq.torch
from quantize_and_run import configs
from torchao.quantization import quantize_
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
MODEL = CACHE / "zenwoq" / "SmolLM2-135M-Instruct.Q4_1.gguf"
CONFIGS = configs(64)  # the model's K of 576 is not a multiple of 128


def load(path: Path, quantize: str) -> Any:
    """Loads the model in bf16, with its linears quantized and on zenwoq; from a folder, as it was saved."""
    if path.is_dir():
        return transformers.AutoModelForCausalLM.from_pretrained(path)
    with zenwoq.torch.keep_gguf_packed() if quantize == "gguf" else contextlib.nullcontext():
        auto = transformers.AutoModelForCausalLM
        model = auto.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.bfloat16)
    if quantize != "gguf":  # all linears but the last, as transformers' TorchAoConfig does
        quantize_(model, CONFIGS[quantize], lambda layer, name: type(layer) is torch.nn.Linear and name != "lm_head")
    print(zenwoq.torch.optimize(model).summary(), file=sys.stderr)
    return model.eval()


def grouped_attention(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
    """transformers' attention, but for one token without the copies of the cache that it makes if it is compiled."""
    batch, heads, tokens, dim = q.shape
    if tokens != 1:
        return sdpa_attention_forward(module, q, k, v, mask, **options)
    rows = q.reshape(batch, k.shape[1], heads // k.shape[1], dim)  # query heads that share a cached head
    y = torch.nn.functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=options["scaling"])
    return y.reshape(batch, 1, heads, dim), None


def compiled(model: Any) -> Callable[..., Any]:
    """The model as one graph for one token: weights are constants, guards are not checked."""
    transformers.AttentionInterface.register("grouped", grouped_attention)
    transformers.AttentionMaskInterface.register("grouped", sdpa_mask)
    model.set_attn_implementation("grouped")
    torch._inductor.config.freezing = True
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    return torch.compile(model, fullgraph=True, dynamic=False, options=options)


class Chat:
    """A model and a cache of fixed length; `step` runs the model for one token, or its compiled form does."""

    def __init__(self, model: Any, step: Callable[..., Any], length: int):
        self.length = length
        self._model, self._step = model, step
        self._cache = transformers.StaticCache(config=model.config, max_cache_len=length)
        list(self.generate(torch.zeros((1, 8), dtype=torch.long), 3))  # generates and compiles code

    @torch.no_grad()
    def generate(self, prompt: torch.Tensor, limit: int) -> Iterator[int]:
        """The likeliest token after a prompt ``[1, tokens]``, the one after that, and so on: at most `limit`."""
        self._cache.reset()
        run, ids = self._model, prompt
        for _ in range(min(limit, self.length - prompt.shape[1] + 1)):
            ids = run(input_ids=ids, cache=self._cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            run = self._step
            yield int(ids)


def answer(chat: Chat, tokenizer: Any, messages: list[dict[str, str]], limit: int) -> str:
    """Prints the answer while it is generated, then the speed; returns the answer."""
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    streamer = transformers.TextStreamer(tokenizer, skip_special_tokens=True)
    tokens, times = [], [time.perf_counter()]
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


def main() -> None:
    """Answers the prompt, or whatever is typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantize", choices=["gguf", *CONFIGS], default="gguf")
    parser.add_argument("--compile", action="store_true", help="compile the decoding of a token")
    parser.add_argument("--prompt", help="answer this and end")
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--context", type=int, default=512, help="tokens that a conversation may have")
    parser.add_argument("--threads", type=int, help="default: as torch chooses")
    parser.add_argument("--model", type=Path, default=MODEL, help="GGUF file of a Llama, or a folder that --save made")
    parser.add_argument("--save", type=Path, help="save the packed model and its tokenizer in this folder and end")
    args = parser.parse_args()
    if not args.model.exists():
        sys.exit(f"{args.model} is missing: tools/quickstart.sh fetches it")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    began = time.perf_counter()
    model = load(args.model, args.quantize)
    print(f"[model in {time.perf_counter() - began:.2f} s]", file=sys.stderr)
    of_folder = (args.model, None) if args.model.is_dir() else (args.model.parent, args.model.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(of_folder[0], gguf_file=of_folder[1])
    if args.save:
        began = time.perf_counter()
        model.save_pretrained(args.save)
        tokenizer.save_pretrained(args.save)
        print(f"[saved in {time.perf_counter() - began:.2f} s]", file=sys.stderr)
        return
    chat = Chat(model, compiled(model) if args.compile else model, args.context)
    messages: list[dict[str, str]] = []
    while text := args.prompt or input("> "):
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": answer(chat, tokenizer, messages, args.max_new_tokens)})
        if args.prompt:
            break


if __name__ == "__main__":
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        main()
