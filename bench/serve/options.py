# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.peers.options import numbers
from bench.serve.engines import BASE, ENGINES, MODELS, Engine, Model
from bench.serve.environment import CACHE

SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
QUICK = {"models": "tiny", "engines": BASE, "requests": [1, 2], "repetitions": 1, "input": 16, "output": 8}
USUAL = {"models": "smollm2,llama", "engines": "", "requests": [1, 4, 16, 64], "repetitions": 3} | {
    **{"input": 128, "output": 64}
}


def among(known: Iterable[str]) -> Callable[[str], str]:
    """A parser of some of these names, separated by commas."""
    names = list(known)

    def parse(text: str) -> str:
        for name in text.split(","):
            if name not in names:
                raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(names)}")
        return text

    return parse


def parse_arguments() -> argparse.Namespace:
    """Parses the command line; engines and models are those of the catalogue."""
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description="Serves models with vLLM on its own kernels, on zentorch and on zenwoq, one server after another, "
        "and measures them with vLLM's benchmark client. For figures that count: on a machine that does nothing else.",
    )
    keys = ", ".join(model.key for model in MODELS)
    parser.add_argument(
        "--models",
        type=among(model.key for model in MODELS),
        metavar="MODEL,...",
        help=f"of {keys}; default: {USUAL['models']}",
    )
    parser.add_argument(
        "--engines",
        type=among(engine.key for engine in ENGINES),
        metavar="ENGINE,...",
        help=f"of {', '.join(engine.key for engine in ENGINES)}; default: all",
    )
    parser.add_argument("--requests", type=numbers(None, 1), metavar="N,...", help="at once; default: 1,4,16,64")
    parser.add_argument("--input", type=int, metavar="TOKENS", help="of each prompt; default: 128")
    parser.add_argument("--output", type=int, metavar="TOKENS", help="of each answer; default: 64")
    parser.add_argument("--repetitions", type=int, help="servers of each engine and model; default: 3")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--bind",
        default="auto",
        metavar="CPUS",
        help="VLLM_CPU_OMP_THREADS_BIND: CPUs that the threads of each server's engine are bound to, as 0-7; auto: as "
        "vLLM does of itself, all but one; nobind: --threads, not bound; default: auto",
    )
    parser.add_argument("--threads", type=int, default=cpus, help="with --bind nobind; default: all CPUs")
    parser.add_argument("--enforce-eager", action="store_true", help="vLLM's option: nothing is compiled")
    parser.add_argument("--quick", action="store_true", help="a tiny model on zenwoq alone: shows that it works")
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="of vLLM's and zenwoq's environment; default: this one",
    )
    parser.add_argument(
        "--smollm2", type=Path, default=SMOLLM2, metavar="PATH", help=f"GGUF file or bf16 folder; default: {SMOLLM2}"
    )
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the servers' logs here")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for name, value in (QUICK if arguments.quick else USUAL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    _check(parser, arguments, cpus)
    return arguments


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace, cpus: int) -> None:
    if not 1 <= arguments.threads <= cpus:
        parser.error(f"--threads {arguments.threads}: this process may use {cpus} CPUs")
    for name in ("repetitions", "input", "output"):
        least = 2 if name == "output" else 1  # one token has no time per output token
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: no such folder")
    if arguments.logs and not arguments.logs.is_dir():
        parser.error(f"--logs {arguments.logs}: no such folder")


def engines_of(arguments: argparse.Namespace) -> list[Engine]:
    """Those that are asked for."""
    wanted = arguments.engines.split(",") if arguments.engines else [engine.key for engine in ENGINES]
    return [engine for engine in ENGINES if engine.key in wanted]


def models_of(arguments: argparse.Namespace) -> list[Model]:
    """Those that are asked for."""
    return [model for model in MODELS if model.key in arguments.models.split(",")]
