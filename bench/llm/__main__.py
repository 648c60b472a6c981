# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures what zenwoq.torch costs and gains: the operator, a Llama of 8 layers, SmolLM2, and optimize itself.

    python bench/llm.py --json llm.json      # 25 minutes on two cores, most of it torch.compile; 12 with --quick

Everything is measured in one run, on as many threads as --threads says. Variants of a model take turns: in each round,
each of them runs the prompt into an empty cache of fixed length and decodes a few tokens. Times are medians; the JSON
file has all of them. zentorch (2.13.0.2) and, with --llama-cpp, llama-cpp-python are measured if they are installed.

The roof is the time in which all weights of a token (zenwoq's packed ones, lm_head in bf16) are read once, at the
bandwidth that is measured right before and after the tokens of each round.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import zenwoq

from bench.llm import blocks, llama, smollm2
from bench.llm.call_cost import operator_row
from bench.llm.models import SMOLLM2
from bench.llm.optimize_cost import optimize_row
from bench.llm.report import Row, aims, table
from bench.llm.sizes import TINY, Sizes
from bench.llm.timing import bandwidth
from bench.llm.variants import has, take_turns

PARTS = ("operator", "optimize", "blocks", "llama", "smollm2")


def measure(parts: Sequence[str], sizes: Sizes, threads: int, with_llama_cpp: bool) -> tuple[list[Row], list[float]]:
    """Measures the rows of these parts; returns them, and the bytes per second of each round of a model."""
    torch.set_num_threads(1)
    rows = []
    if "operator" in parts:
        rows += [operator_row(n, k, sizes.call_repeats) for n, k in ((64, 64), (576, 576))]
    torch.set_num_threads(threads)
    if "optimize" in parts:
        rows.append(optimize_row(sizes, threads))
    if "blocks" in parts:
        rows += blocks.rows(sizes)
    llamas = list(llama.variants(sizes)) if "llama" in parts else []
    smols = list(smollm2.variants(sizes, with_llama_cpp)) if "smollm2" in parts and sizes.smol else []
    if sizes.zentorch and has("zentorch"):  # last: its import changes what inductor makes
        llamas += llama.zentorch_variants(sizes) if llamas else []
        smols += smollm2.zentorch_variants(sizes) if smols else []
    if not llamas and not smols:
        return rows, []
    bytes_per_s = bandwidth(sizes.bandwidth_mib)
    if llamas:
        take_turns(llamas, sizes.rounds, sizes.llama_steps, bytes_per_s)
        rows += llama.rows(llamas, sizes.llama_prompt)
    if smols:
        take_turns(smols, sizes.rounds, sizes.smol_steps, bytes_per_s)
        rows += smollm2.rows(smols, sizes.smol_prompt)
        rows += [smollm2.eager_parts(each) for each in smols if each.name in smollm2.IN_PARTS]
    return rows, [each for variant in llamas + smols for each in variant.bytes_per_s]


def missing(with_llama_cpp: bool) -> list[str]:
    """What was not measured, and why."""
    notes = [] if has("zentorch") else ["zentorch: not installed (pip install --no-deps zentorch==2.13.0.2)"]
    if not with_llama_cpp:
        return [*notes, "llama.cpp: not asked for (--llama-cpp)"]
    return (
        notes if has("llama_cpp") else [*notes, "llama.cpp: not installed (pip install llama-cpp-python, ten minutes)"]
    )


def versions() -> dict[str, str]:
    """The versions of the packages that were measured."""
    found = {}
    for name in ("zenwoq", "torch", "torchao", "transformers", "zentorch", "llama-cpp-python"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="llm.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated; default: all")
    parser.add_argument("--llama-cpp", action="store_true", help="measure llama-cpp-python too, if it is installed")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="of SmolLM2, compile by inductor zenwoq's form alone")
    parser.add_argument("--tiny", action="store_true", help="small sizes, no SmolLM2: shows that the program works")
    return parser.parse_args()


def main() -> None:
    """Measures, prints, writes."""
    args = parse()
    began = time.perf_counter()
    if not args.tiny and not SMOLLM2.exists():
        sys.exit(f"{SMOLLM2} is missing: tools/quickstart.sh fetches it")
    sizes = TINY if args.tiny else Sizes(smol_compiled=("zenwoq", "zenwoq apart")) if args.quick else Sizes()
    rows, bytes_per_s = measure(args.only or PARTS, sizes, args.threads, args.llama_cpp)
    gb_s = [each / 1e9 for each in bytes_per_s]
    cpu = zenwoq.cpu_info()
    speed = f"{min(gb_s):.0f} to {max(gb_s):.0f} GB/s" if gb_s else "bandwidth not measured"
    head = f"{cpu.brand} ({cpu.uarch}), tier {cpu.tier}, {args.threads} threads, {speed}, {time.strftime('%Y-%m-%d')}"
    print(f"{head}\n{', '.join(f'{name} {version}' for name, version in versions().items())}\n\n{table(rows)}")
    judged = aims(rows)
    for line in [*judged, *missing(args.llama_cpp)]:
        print(line)
    if args.json:
        result = {
            "kind": "llm",
            "cpu": cpu.brand,
            "uarch": cpu.uarch,
            "tier": cpu.tier,
            "threads": args.threads,
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(),
            "bandwidth_gb_s": [min(gb_s), max(gb_s)] if gb_s else [],
            "rows": [{"part": row.part, "name": row.name, **row.values} for row in rows],
            "aims": [{"text": aim.text, "value": aim.value, "limit": aim.limit, "met": aim.met} for aim in judged],
            "missing": missing(args.llama_cpp),
            "seconds": time.perf_counter() - began,
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
