# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Ways to run a model, measured in turns."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
import zenwoq.torch

from bench.llm.models import compile_forward
from bench.llm.timing import MS, seconds


@dataclass
class Variant:
    """One way to run a model.

    Attributes:
        name: its name in the table.
        weights: what its weights are; variants with the same weights must compute the same.
        prefill: runs the prompt into an empty cache.
        step: decodes a token after it; returns its logits.
        weight_bytes: bytes of weights that a token reads; 0 if not known.
        start_s: seconds of its first prompt and token, code generation and compilation included.
        logits: ``[vocabulary]`` of the first token.
        prefill_s: seconds of the prompt, one entry per round.
        step_s: seconds of each token of each round.
        bytes_per_s: the bandwidth of each round.
    """

    name: str
    weights: str
    prefill: Callable[[], object]
    step: Callable[[], torch.Tensor]
    weight_bytes: int = 0
    start_s: float = 0.0
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    prefill_s: list[float] = field(default_factory=list)
    step_s: list[list[float]] = field(default_factory=list)
    bytes_per_s: list[float] = field(default_factory=list)

    def start(self) -> Variant:
        """Compiles whatever is compiled at the first call."""
        print(f"  {self.name}", end="", file=sys.stderr, flush=True)
        self.start_s = seconds(lambda: (self.prefill(), self.step(), self.prefill()))
        self.logits = self.step().flatten().float().clone()
        print(f": {self.start_s:.1f} s to start", file=sys.stderr)
        return self

    def measure(self, steps: int, bytes_per_s: Callable[[], float]) -> None:
        """One round; the bandwidth is measured right before and after the tokens."""
        self.prefill_s.append(seconds(self.prefill))
        before = bytes_per_s()
        self.step_s.append([seconds(self.step) for _ in range(steps)])
        self.bytes_per_s.append((before + bytes_per_s()) / 2)

    def values(self, tokens: int) -> dict[str, Any]:
        """The figures for the JSON file."""
        all_steps = [value for steps in self.step_s for value in steps]
        token, prompt = statistics.median(all_steps), statistics.median(self.prefill_s)
        return {
            "token_ms": MS * token,
            "token_best_ms": MS * min(all_steps),
            "prompt_ms": MS * prompt,
            "prompt_best_ms": MS * min(self.prefill_s),
            "tokens_per_s": 1 / token,
            "prompt_tokens_per_s": tokens / prompt,
            "start_s": self.start_s,
            "weight_bytes": self.weight_bytes,
            "all_token_ms": [[MS * value for value in steps] for steps in self.step_s],
            "all_prompt_ms": [MS * value for value in self.prefill_s],
            "all_gb_s": [value / 1e9 for value in self.bytes_per_s],
        }

    def over_roof(self, roof_bytes: int) -> list[float]:
        """The time of a token over that of reading `roof_bytes`, for each round."""
        rounds = zip(self.step_s, self.bytes_per_s, strict=True)
        return [statistics.median(steps) * bytes_per_s / roof_bytes for steps, bytes_per_s in rounds]


def weight_bytes(model: Any) -> int:
    """Bytes of all linears' weights that a token reads; a tied embedding counts only as lm_head."""
    tensors: dict[int, torch.Tensor] = {}
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, zenwoq.torch.Linear)):
            weight = module.packed if isinstance(module, zenwoq.torch.Linear) else module.weight
            tensors[id(weight)] = weight
    return sum(zenwoq.torch._sources.bytes_of(weight) for weight in tensors.values())


def of_model(
    library: str, weights: str, model: Any, prompt: torch.Tensor, steps: int, backend: str | None = None
) -> Variant:
    """A model in torch, as it is or compiled; its cache has room for the prompt and what is decoded after it."""
    cache = transformers.StaticCache(config=model.config, max_cache_len=prompt.shape[1] + steps + 2)
    run_prompt, run_token = forward_of(model, cache), forward_of(model, cache)
    if backend:
        with torch.no_grad():
            run_prompt(prompt)  # makes the tensors of the cache, which a compiled forward would make anew each time
        run_prompt, run_token = (compile_forward(model, run, backend) for run in (run_prompt, run_token))
    token = prompt[:, :1].clone()

    def prefill() -> None:
        cache.reset()
        with torch.no_grad():
            run_prompt(prompt)

    def step() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = run_token(token)
            return logits

    name = f"{library} {weights} {backend or 'eager'}"
    return Variant(name, weights, prefill, step, weight_bytes(model)).start()


def forward_of(model: Any, cache: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from ids ``[1, tokens]`` to the last token's logits.

    Each has its own code object, by which torch finds the function's graph.
    """

    def forward(ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=ids, cache=cache, logits_to_keep=1).logits
        return logits

    forward.__code__ = forward.__code__.replace()
    return forward


def take_turns(variants: list[Variant], rounds: int, steps: int, bytes_per_s: Callable[[], float]) -> None:
    """Measures all variants in each round, so that a disturbance of the machine affects all of them."""
    for i in range(rounds):
        print(f"  round {i + 1} of {rounds}", file=sys.stderr)
        for variant in variants:
            variant.measure(steps, bytes_per_s)


def error(variant: Variant, variants: list[Variant]) -> float:
    """Largest difference between its logits and those of the first variant with its weights, over the largest logit."""
    first = next(other for other in variants if other.weights == variant.weights).logits
    return float((variant.logits - first).abs().max() / first.abs().max()) if first.numel() else 0.0


def wrong(values: dict[str, Any]) -> str:
    """A word of warning for the table: bf16 logits of the same weights differ by a few percent."""
    return f"; WRONG RESULTS, off by {values['error']:.0%}" if not values["error"] < 0.1 else ""


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None
