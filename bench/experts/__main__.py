# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures mixture-of-experts blocks of zenwoq and its peers in one run: on the same weights, interleaved.

bench/results/README.md says how to read the results.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.experts import catalogue
from bench.experts.catalogue import Block
from bench.experts.report import tables
from bench.peers import schedule
from bench.peers.catalogue import Entry
from bench.peers.install import pythons_of
from bench.peers.options import add_options, check_options, numbers
from bench.peers.process import Worker, start
from bench.peers.results import Results
from bench.report.figures import Spread, count


def parse_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench.experts",
        description="Installs the peers from PyPI into the environment of bench/peers.py, measures them and zenwoq, "
        "and prints tables. For figures that count: on a machine that does nothing else, under taskset with as many "
        "CPUs as the largest number of threads.",
    )
    parser.add_argument(
        "--block",
        type=catalogue.block,
        action="append",
        help=f"may be repeated; {', '.join(block.name for block in catalogue.BLOCKS)} (default: these), or its sizes: "
        "EXPERTS,SLOTS,HIDDEN,INTERMEDIATE",
    )
    parser.add_argument(
        "--tokens",
        type=numbers(None, 1),
        default=[1, 4, 16, 64, 256, 1024],
        metavar="T,...",
        help="default: 1,4,16,64,256,1024",
    )
    parser.add_argument("--threads", type=numbers(None, 1), metavar="N,...", help="default: 1,2; 1 if there is one CPU")
    parser.add_argument("--hot", action="store_true", help="all tokens of a run choose the same experts")
    parser.add_argument("--routings", type=int, default=16, help="that runs take in turn; default: 16")
    parser.add_argument(
        "--ggml",
        metavar="FOLDER",
        help="libggml-base.so and libggml-cpu*.so to measure, such as those of a llama.cpp built on this machine; "
        "default: those of a package with a library for each kind of CPU",
    )
    add_options(parser, catalogue.ENTRIES, catalogue.BASE)
    arguments = parser.parse_args()
    arguments.block = arguments.block or list(catalogue.BLOCKS)
    arguments.threads = arguments.threads or [1, 2][: len(os.sched_getaffinity(0))]
    if arguments.routings < 1:
        parser.error("--routings must be at least 1")
    check_options(parser, arguments, catalogue.ENTRIES, catalogue.BASE, max(arguments.threads))
    return arguments


class Session:
    """The peers on one number of threads.

    Attributes:
        about: the answer of each that runs to start.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        pythons: list[tuple[Entry, str | Path]],
        threads: int,
        folder: str,
        results: Results,
    ):
        self._arguments = arguments
        self._threads = threads
        self._results = results
        self._workers: list[Worker] = []
        self.about: list[dict[str, Any]] = []
        started = start(
            pythons,
            threads,
            arguments.library,
            lambda entry, text: skip(results, entry, text, f", {count(threads, 'thread')}"),
            "bench.experts.worker",
            folder=folder,
            settings={"ggml": str(Path(arguments.ggml).absolute())} if arguments.ggml else {},
        )
        for worker, about in started:
            self._workers.append(worker)
            self.about.append({**worker.entry._asdict(), **about})

    def measure(self, block: Block, tokens: int) -> list[dict[str, Any]]:
        """Measures one block at one number of tokens; returns rows of the JSON."""
        arguments = self._arguments
        problem = {"block": list(block), "tokens": tokens, "hot": arguments.hot, "routings": arguments.routings}
        where = f", {block.name}, {count(tokens, 'token')}, {count(self._threads, 'thread')}"
        measurements = schedule.measure(
            self._workers,
            problem,
            arguments.repetitions,
            arguments.seconds,
            lambda worker, text: skip(self._results, worker.entry, text, where),
        )
        rows = [self._row(block, tokens, measurement) for measurement in measurements]
        base = next((row["median_ms"] for row in rows if row["key"] == catalogue.BASE), None)
        for row in rows:
            row["ratio"] = row["median_ms"] / base if base else None
        return rows

    def stop(self) -> None:
        """Ends all processes."""
        for worker in self._workers:
            worker.stop()

    def _row(self, block: Block, tokens: int, measurement: schedule.Measurement) -> dict[str, Any]:
        entry = measurement.worker.entry
        figure = Spread.of(each / 1000 for each in measurement.times_us)
        return {
            "block": block.name,
            **{key: getattr(block, key) for key in ("experts", "slots", "hidden", "intermediate")},
            "tokens": tokens,
            "threads": self._threads,
            "hot": self._arguments.hot,
            "key": entry.key,
            "implementation": entry.implementation,
            "mode": entry.mode,
            "group": entry.settings["group"],
            "median_ms": figure.median,
            "low_ms": figure.low,
            "high_ms": figure.high,
            "tokens_per_s": tokens / figure.median * 1000,
            "repetitions_ms": [each / 1000 for each in measurement.times_us],
            "busy": measurement.busy,
            "relative_error": measurement.prepared["relative_error"],
        }


def skip(results: Results, entry: Entry, reason: str, where: str = "") -> None:
    """Says that a peer is not measured, and why."""
    results.skip(entry, reason, where, where=where)


def measure(arguments: argparse.Namespace, results: Results) -> None:
    """Fills the results."""
    known = catalogue.ENTRIES
    failed = functools.partial(skip, results)
    pythons = pythons_of(arguments.entries, known, arguments.python, arguments.venv, failed)
    with tempfile.TemporaryDirectory() as folder:
        for threads in arguments.threads:
            session = Session(arguments, pythons, threads, folder, results)
            results.data["peers"] = results.data["peers"] or session.about
            try:
                for block in arguments.block:
                    for tokens in sorted(set(arguments.tokens)):
                        what = f"{block.name}, {count(tokens, 'token')}, {count(threads, 'thread')}"
                        results.add(session.measure(block, tokens), what)
            finally:
                session.stop()


def main() -> int:
    """Measures, writes, prints."""
    arguments = parse_arguments()
    results = Results(
        "bench.experts",
        "experts",
        arguments.json,
        repetitions=arguments.repetitions,
        seconds=arguments.seconds,
        routings=arguments.routings,
    )
    measure(arguments, results)
    peers = results.data["peers"]
    if results.take_cpu(next((peer for peer in peers if peer["key"] == catalogue.BASE), None)) is None:
        return 1
    results.write()
    print(tables(results.data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
