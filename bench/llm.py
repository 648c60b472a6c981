#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What zenwoq.torch costs and gains: the operator, a Llama of 8 layers, SmolLM2, and optimize itself.

    python bench/llm.py --json llm.json      # 5 to 8 minutes on two cores, most of it torch.compile

Everything is measured in one run, on as many threads as --threads says. Variants of a model take turns: each round,
each of them runs the prompt into an empty cache of fixed length and decodes a few tokens. Times are the best of all
rounds; the JSON file has all of them. zentorch (2.13.0.2) and, with --llama-cpp, llama-cpp-python are measured where
they are installed.

The roof is the time in which all weights of a token (zenwoq's packed ones, lm_head in bf16) are read once, at the
bandwidth of this run.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import chat  # first: it silences what others print
import torch
import transformers
import zenwoq
import zenwoq.torch
from quantize_and_run import configs, llama
from torchao.quantization import quantize_
from zenwoq import _library

MS = 1e3
MIB = 2**20


# --- The table


@dataclass
class Row:
    """A line of the table; `values` go into the JSON file as they are."""

    part: str
    name: str
    token: str = ""
    prompt: str = ""
    note: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Aim:
    """A figure and what it should be: at most `limit`, or at least."""

    text: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{'met   ' if self.met else 'MISSED'}  {self.text}: {self.value:.2f} {sign} {self.limit:.2f}"


def table(rows: list[Row]) -> str:
    """Rows with aligned columns."""
    cells = [("part", "variant", "a token", "the prompt", "")]
    cells += [(row.part, row.name, row.token, row.prompt, row.note) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    return "\n".join(
        f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip() for a, b, c, d, e in cells
    )


# --- The machine


def bandwidth(mib: int) -> float:
    """Bytes a second that torch's threads read: the best of ten sums over so many MiB of float32."""
    data = torch.ones(mib * MIB // 4)
    return data.nbytes / min(seconds(data.sum) for _ in range(10))


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def call_seconds(function: Callable[[], object], repeats: int) -> float:
    """Time of a short call, without that of the loop: the best of 15 loops."""

    def loop(call: Callable[[], object]) -> float:
        return min(seconds(lambda: [call() for _ in range(repeats)]) for _ in range(15)) / repeats

    return loop(function) - loop(lambda: None)


# --- The operator: one thread, M = 1


def operator_row(n: int, k: int, repeats: int) -> Row:
    """What the torch operator adds to ``zenwoq_packed_run``, which ctypes calls with everything prepared."""
    weight = zenwoq.Weight(torch.zeros((n, k // 2), dtype=torch.uint8), torch.ones((n, k // 64), dtype=torch.bfloat16))
    layer = zenwoq.torch.Linear(torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone())
    x, y = torch.ones((1, k), dtype=torch.bfloat16), torch.empty((1, n), dtype=torch.bfloat16)
    packed, operator = layer.packed, torch.ops.zenwoq.linear.default
    run = prepared_call(packed, n, k, x, y)
    with torch.inference_mode():
        times = {
            "c_us": call_seconds(run, repeats) - call_seconds(_library._library().zenwoq_version, repeats),
            "operator_us": call_seconds(lambda: operator(x, packed, None, n), repeats),
            "module_us": call_seconds(lambda: layer(x), repeats),
        }
    values = {"n": n, "k": k, **{name: 1e6 * value for name, value in times.items()}}
    values["over_c_us"] = values["operator_us"] - values["c_us"]
    note = "operator {operator_us:.2f} us, C {c_us:.2f} us, module {module_us:.2f} us; 1 thread".format(**values)
    return Row("operator", f"cost over the C call, {n} x {k}", f"{values['over_c_us']:.2f} us", "", note, values)


def prepared_call(packed: torch.Tensor, n: int, k: int, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """``zenwoq_packed_run`` on ``[1, k]`` into ``[1, n]``, bf16 both, one thread: nothing is left but the call."""
    bf16 = _library.Dtype.BFLOAT16
    weight = _library.Packed(packed=packed.data_ptr(), packed_bytes=packed.nbytes, n=n, k=k)
    desc = _library.LinearDesc(output_type=bf16, bias_type=_library.Dtype.FLOAT32)
    args = _library.RunArgs(
        m=1, x_type=bf16, x=x.data_ptr(), ldx=k, x_bytes=x.nbytes, y=y.data_ptr(), ldy=n, y_bytes=y.nbytes, threads=1
    )
    function = ctypes.CDLL(str(_library.folder() / "libzenwoq.so")).zenwoq_packed_run
    arguments = (_library.context(), ctypes.byref(weight), ctypes.byref(desc), ctypes.byref(args))
    if function(*arguments) != 0:
        raise RuntimeError(_library._library().zenwoq_last_error().decode())
    return lambda: function(*arguments)


# --- Variants of a model


@dataclass
class Variant:
    """One way to run a model.

    Attributes:
        name: in the table.
        weights: what its weights are; variants with the same must compute the same.
        prefill: runs the prompt into an empty cache.
        step: decodes a token after it; returns its logits.
        weight_bytes: read for a token; 0 where it is not known.
        start_s: seconds of its first prompt and token: code generation, compilation.
        logits: ``[vocabulary]`` of the first token.
        prefill_s, step_s: seconds, one entry a measurement.
    """

    name: str
    weights: str
    prefill: Callable[[], object]
    step: Callable[[], torch.Tensor]
    weight_bytes: int = 0
    start_s: float = 0.0
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    prefill_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)

    def start(self) -> Variant:
        """Compiles whatever is compiled at the first call."""
        print(f"  {self.name}", end="", file=sys.stderr, flush=True)
        self.start_s = seconds(lambda: (self.prefill(), self.step(), self.prefill()))
        self.logits = self.step().flatten().float().clone()
        print(f": {self.start_s:.1f} s to start", file=sys.stderr)
        return self

    def measure(self, steps: int) -> None:
        """One round."""
        self.prefill_s.append(seconds(self.prefill))
        self.step_s += [seconds(self.step) for _ in range(steps)]

    def values(self, tokens: int) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "token_ms": MS * min(self.step_s),
            "token_median_ms": MS * statistics.median(self.step_s),
            "prompt_ms": MS * min(self.prefill_s),
            "prompt_median_ms": MS * statistics.median(self.prefill_s),
            "tokens_per_s": 1 / min(self.step_s),
            "prompt_tokens_per_s": tokens / min(self.prefill_s),
            "start_s": self.start_s,
            "weight_bytes": self.weight_bytes,
            "all_token_ms": [MS * value for value in self.step_s],
            "all_prompt_ms": [MS * value for value in self.prefill_s],
        }


def weight_bytes(model: Any) -> int:
    """Bytes of all linears' weights as they are read for a token: the embedding counts as lm_head alone."""
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
        run_prompt, run_token = (chat.compile_forward(model, run, backend) for run in (run_prompt, run_token))
    token = prompt[:, :1].clone()

    def prefill() -> None:
        cache.reset()
        with torch.no_grad():
            run_prompt(prompt)

    def step() -> torch.Tensor:
        with torch.no_grad():
            return run_token(token)

    name = f"{library} {weights} {backend or 'eager'}"
    return Variant(name, weights, prefill, step, weight_bytes(model)).start()


def forward_of(model: Any, cache: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """ids ``[1, tokens]`` to the last token's logits. Its code object, by which torch finds its graph, is its own."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, cache=cache, logits_to_keep=1).logits

    forward.__code__ = forward.__code__.replace()
    return forward


def take_turns(variants: list[Variant], rounds: int, steps: int) -> None:
    """All variants in each round, so that a disturbance of the machine meets all of them."""
    for i in range(rounds):
        print(f"  round {i + 1} of {rounds}", file=sys.stderr)
        for variant in variants:
            variant.measure(steps)


def error(variant: Variant, variants: list[Variant]) -> float:
    """Largest difference of its logits from the first variant's with the same weights, over the largest logit."""
    first = next(other for other in variants if other.weights == variant.weights).logits
    return float((variant.logits - first).abs().max() / first.abs().max()) if first.numel() else 0.0


def wrong(values: dict[str, Any]) -> str:
    """A word of warning for the table: bf16 logits of the same weights differ by a few percent."""
    return f"; WRONG RESULTS, off by {values['error']:.0%}" if not values["error"] < 0.1 else ""


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


# --- The Llama of quantize_and_run.py


def llama_variants(sizes: Sizes) -> Iterator[Variant]:
    """Each model is made when its turn comes; zentorch is last, since its import changes inductor."""
    prompt = torch.arange(sizes.llama_prompt)[None]
    intx, _, opaque = configs().values()

    def model(config: Any = None, *, packed: bool = False) -> Any:
        made = llama(sizes.layers, sizes.hidden)
        if config is not None:
            quantize_(made, config, lambda m, name: isinstance(m, torch.nn.Linear) and name != "lm_head")
        if packed:
            zenwoq.torch.optimize(made, progress=False)
        return made

    def both(library: str, weights: str, made: Any) -> Iterator[Variant]:
        yield of_model(library, weights, made, prompt, sizes.llama_steps)
        if library in sizes.compiled:
            yield of_model(library, weights, made, prompt, sizes.llama_steps, "inductor")

    yield from both("torch", "bf16", model())
    yield from both("TorchAO", "intx", model(intx))
    yield from both("TorchAO", "opaque", model(opaque))
    yield from both("zenwoq", "intx", model(intx, packed=True))
    if has("zentorch") and "TorchAO" in sizes.compiled:
        yield of_model("TorchAO", "intx", model(intx), prompt, sizes.llama_steps, "zentorch")


def llama_rows(variants: list[Variant], bytes_per_s: float, prompt: int) -> list[Row]:
    """Times, and a token's as a multiple of the roof."""
    rows = []
    for variant in variants:
        values = variant.values(prompt)
        # What a compiled form of other libraries reads is theirs: the roof of all is that of zenwoq's weights.
        values["roof_ms"] = MS * roof_bytes(variants) / bytes_per_s
        values["over_roof"] = values["token_ms"] / values["roof_ms"]
        values["error"] = error(variant, variants)
        rows.append(
            Row(
                "llama",
                variant.name,
                f"{values['token_ms']:.2f} ms",
                f"{values['prompt_ms']:.1f} ms",
                f"{values['over_roof']:.2f} x roof; start {variant.start_s:.1f} s{wrong(values)}",
                values,
            )
        )
    return rows


def roof_bytes(variants: list[Variant]) -> int:
    """Bytes of the 4-bit weights and of lm_head."""
    return next(variant.weight_bytes for variant in variants if variant.name.startswith("zenwoq"))


# --- SmolLM2


def smol_variants(sizes: Sizes, with_llama_cpp: bool) -> Iterator[Variant]:
    """From the GGUF file: its own weights in zenwoq and llama.cpp, those that TorchAO makes of them in torch."""
    prompt = torch.arange(sizes.smol_prompt)[None] + 1000
    packed = chat.load(chat.MODEL, "gguf", "zenwoq")
    yield of_model("zenwoq", "gguf", packed, prompt, sizes.smol_steps)
    yield of_model("zenwoq", "gguf", packed, prompt, sizes.smol_steps, "inductor")
    if with_llama_cpp and has("llama_cpp"):
        yield of_llama_cpp(prompt[0].tolist(), sizes.smol_steps)
    yield of_model("torch", "bf16", chat.load(chat.MODEL, "gguf", "eager"), prompt, sizes.smol_steps)
    for quantize in ("opaque", "intx-group"):
        yield of_model("TorchAO", quantize, chat.load(chat.MODEL, quantize, "eager"), prompt, sizes.smol_steps)


def of_llama_cpp(prompt: list[int], steps: int) -> Variant:
    """llama.cpp on the same file, tokens and threads."""
    from llama_cpp import Llama

    threads = torch.get_num_threads()
    model = Llama(
        str(chat.MODEL),
        n_ctx=len(prompt) + steps + 2,
        n_batch=len(prompt),
        n_ubatch=len(prompt),
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )

    def prefill() -> None:
        model.reset()
        model.eval(prompt)

    def step() -> torch.Tensor:
        model.eval(prompt[:1])
        return torch.empty(0)

    return Variant("llama.cpp", "gguf, int8 activations", prefill, step, chat.MODEL.stat().st_size).start()


def smol_rows(variants: list[Variant], prompt: int) -> list[Row]:
    """Tokens a second."""
    rows = []
    for variant in variants:
        values = variant.values(prompt)
        token, whole = f"{values['tokens_per_s']:.1f} tok/s", f"{values['prompt_tokens_per_s']:.0f} tok/s"
        values["error"] = error(variant, variants)
        note = f"{values['token_ms']:.2f} ms a token; start {variant.start_s:.1f} s{wrong(values)}"
        rows.append(Row("smollm2", variant.name, token, whole, note, values))
    return rows


def eager_parts(variant: Variant) -> Row:
    """Where an eager token's time goes: operators by the profiler, and the rest of the time without the profiler."""
    variant.prefill()
    steps = 5
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(steps):
            variant.step()
    parts = {"zenwoq_ms": 0.0, "lm_head_ms": 0.0, "attention_ms": 0.0, "other_operators_ms": 0.0}
    kinds = {"zenwoq::linear": "zenwoq_ms", "aten::mm": "lm_head_ms", "aten::addmm": "lm_head_ms"}
    calls = 0
    for event in profile.key_averages():
        kind = kinds.get(event.key, "attention_ms" if "scaled_dot_product" in event.key else "other_operators_ms")
        parts[kind] += event.self_cpu_time_total / steps / 1e3
        calls += event.count
    values: dict[str, Any] = {**parts, "operator_calls": calls / steps, "token_ms": MS * min(variant.step_s)}
    values["python_ms"] = values["token_ms"] - sum(parts.values())
    note = ", ".join(f"{name.removesuffix('_ms').replace('_', ' ')} {value:.2f}" for name, value in parts.items())
    note += f" ({calls // steps} calls), Python {values['python_ms']:.2f} ms"
    return Row("smollm2", "zenwoq gguf eager: parts", f"{values['token_ms']:.2f} ms", "", note, values)


# --- optimize


def optimize_cost(layers: int, hidden: int, threads: int) -> dict[str, float]:
    """Time and memory of optimize, in a process of its own: MiB that the process has before, at most, and after."""
    torch.set_num_threads(threads)
    model = llama(layers, hidden)
    quantize_(
        model, next(iter(configs().values())), lambda m, name: isinstance(m, torch.nn.Linear) and name != "lm_head"
    )
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    took = seconds(lambda: zenwoq.torch.optimize(model, progress=False))
    peak = resident("VmHWM")
    return {"seconds": took, "before_mib": before, "peak_mib": peak, "after_mib": resident("VmRSS")}


def resident(name: str) -> float:
    """MiB of a line of /proc/self/status."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def optimize_row(sizes: Sizes, threads: int) -> Row:
    """The Llama's intx layers; the process is new, so that its peak is its own, and gives back whatever it frees."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(MIB // 4)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        values: dict[str, Any] = pool.submit(optimize_cost, sizes.layers, sizes.hidden, threads).result()
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    values["peak_over_before_mib"] = values["peak_mib"] - values["before_mib"]
    note = "peak {peak_over_before_mib:.0f} MiB over the {before_mib:.0f} before, {after_mib:.0f} after".format(
        **values
    )
    return Row("optimize", "the llama's intx layers", f"{values['seconds']:.2f} s", "", note, values)


# --- All of it


@dataclass(frozen=True)
class Sizes:
    """How large everything is: the real ones, or those that only show that the program works."""

    layers: int = 8
    hidden: int = 2048
    llama_prompt: int = 128
    llama_steps: int = 4
    smol_prompt: int = 256
    smol_steps: int = 16
    rounds: int = 8
    bandwidth_mib: int = 512
    call_repeats: int = 2000
    compiled: tuple[str, ...] = ("torch", "TorchAO", "zenwoq")
    smol: bool = True


TINY = Sizes(1, 512, 8, 2, 8, 2, 1, 16, 20, ("zenwoq",), smol=False)


def aims(rows: list[Row]) -> list[Aim]:
    """The figures that have an aim; those whose variants were not measured are left out."""
    at = {(row.part, row.name): row.values for row in rows}
    found = []

    def add(text: str, part: str, name: str, key: str, limit: float | None, at_most: bool = True) -> None:
        if (part, name) in at and limit is not None:
            found.append(Aim(text, at[part, name][key], limit, at_most))

    for row in rows:
        if row.part == "operator":
            add(
                f"operator over the C call, {row.values['n']} x {row.values['k']}, us",
                row.part,
                row.name,
                "over_c_us",
                5,
            )
    add("llama, compiled: a token over the roof", "llama", "zenwoq intx inductor", "over_roof", 1.5)
    add("llama, eager: a token over the roof", "llama", "zenwoq intx eager", "over_roof", 2)
    dense = at.get(("llama", "torch bf16 eager"), {}).get("prompt_ms")
    for how in ("eager", "inductor"):
        add(f"llama, {how}: prompt in ms, torch bf16's at most", "llama", f"zenwoq intx {how}", "prompt_ms", dense)
    other = at.get(("smollm2", "llama.cpp"), {})
    for how in ("eager", "inductor"):
        limit = 3 * other["prompt_tokens_per_s"] if other else None
        add(f"smollm2, {how}: prompt tokens/s", "smollm2", f"zenwoq gguf {how}", "prompt_tokens_per_s", limit, False)
        add(
            f"smollm2, {how}: tokens/s",
            "smollm2",
            f"zenwoq gguf {how}",
            "tokens_per_s",
            other.get("tokens_per_s"),
            False,
        )
    return found


def measure(sizes: Sizes, threads: int, with_llama_cpp: bool) -> tuple[list[Row], float]:
    """All rows, and bytes a second."""
    torch.set_num_threads(1)
    rows = [operator_row(n, k, sizes.call_repeats) for n, k in ((64, 64), (576, 576))]
    torch.set_num_threads(threads)
    print("llama", file=sys.stderr)
    variants = list(llama_variants(sizes))
    bytes_per_s = bandwidth(sizes.bandwidth_mib)
    take_turns(variants, sizes.rounds, sizes.llama_steps)
    bytes_per_s = max(bytes_per_s, bandwidth(sizes.bandwidth_mib))
    rows += llama_rows(variants, bytes_per_s, sizes.llama_prompt)
    del variants
    torch.compiler.reset()  # with the weights that it made constants
    rows.append(optimize_row(sizes, threads))
    if sizes.smol:
        print("smollm2", file=sys.stderr)
        variants = list(smol_variants(sizes, with_llama_cpp))
        take_turns(variants, sizes.rounds, sizes.smol_steps)
        rows += smol_rows(variants, sizes.smol_prompt)
        rows.append(eager_parts(variants[0]))
    return rows, bytes_per_s


def missing(with_llama_cpp: bool) -> list[str]:
    """What was not measured, and why."""
    notes = [] if has("zentorch") else ["zentorch: not installed (pip install --no-deps zentorch==2.13.0.2)"]
    if not with_llama_cpp:
        return [*notes, "llama.cpp: not asked for (--llama-cpp)"]
    return (
        notes if has("llama_cpp") else [*notes, "llama.cpp: not installed (pip install llama-cpp-python, ten minutes)"]
    )


def versions() -> dict[str, str]:
    """Of what was measured."""
    found = {}
    for name in ("zenwoq", "torch", "torchao", "transformers", "zentorch", "llama-cpp-python"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-cpp", action="store_true", help="measure llama-cpp-python too, if it is installed")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--tiny", action="store_true", help="small sizes, no SmolLM2: shows that the program works")
    return parser.parse_args()


def main() -> None:
    """Measures, prints, writes."""
    args = parse()
    began = time.perf_counter()
    if not args.tiny and not chat.MODEL.exists():
        sys.exit(f"{chat.MODEL} is missing: tools/quickstart.sh fetches it")
    rows, bytes_per_s = measure(TINY if args.tiny else Sizes(), args.threads, args.llama_cpp)
    cpu = zenwoq.cpu_info()
    head = (
        f"{cpu.brand} ({cpu.uarch}), {args.threads} threads, {bytes_per_s / 1e9:.1f} GB/s, {time.strftime('%Y-%m-%d')}"
    )
    print(f"{head}\n{', '.join(f'{name} {version}' for name, version in versions().items())}\n\n{table(rows)}\n")
    judged = aims(rows)
    for line in [*judged, *missing(args.llama_cpp)]:
        print(line)
    if args.json:
        result = {
            "cpu": cpu.brand,
            "uarch": cpu.uarch,
            "threads": args.threads,
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(),
            "bandwidth_gb_s": bytes_per_s / 1e9,
            "rows": [{"part": row.part, "name": row.name, **row.values} for row in rows],
            "aims": [{"text": aim.text, "value": aim.value, "limit": aim.limit, "met": aim.met} for aim in judged],
            "missing": missing(args.llama_cpp),
            "seconds": time.perf_counter() - began,
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
