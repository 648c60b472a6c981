# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures mixture-of-experts blocks of zenwoq and its peers in one run: on the same weights, interleaved.

bench/results/README.md says how to read the results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.experts import catalogue
from bench.experts.catalogue import Block
from bench.experts.report import tables
from bench.peers import schedule
from bench.peers.__main__ import numbers
from bench.peers.catalogue import Entry
from bench.peers.install import default_folder, install_entries
from bench.peers.process import REPOSITORY, PeerError, Worker
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
    parser.add_argument(
        "--only",
        default="",
        metavar="PEER,...",
        help=f"these and {catalogue.BASE}: {', '.join(entry.key for entry in catalogue.ENTRIES)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repetitions", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each repetition, at least; default: 0.2")
    parser.add_argument("--routings", type=int, default=16, help="that runs take in turn; default: 16")
    parser.add_argument(
        "--ggml",
        metavar="FOLDER",
        help="libggml-base.so and libggml-cpu*.so to measure, such as those of a llama.cpp built on this machine; "
        "default: those of a package with a library for each kind of CPU",
    )
    parser.add_argument(
        "--library",
        type=Path,
        default=REPOSITORY / "build/src/libzenwoq.so",
        help="default: build/src/libzenwoq.so",
    )
    parser.add_argument("--venv", type=Path, default=default_folder(), help=f"default: {default_folder()}")
    parser.add_argument("--python", metavar="PYTHON", help="a Python with the peers you have: installs nothing")
    arguments = parser.parse_args()
    arguments.block = arguments.block or list(catalogue.BLOCKS)
    cpus = len(os.sched_getaffinity(0))
    arguments.threads = arguments.threads or [1, 2][:cpus]
    if max(arguments.threads) > cpus:
        parser.error(f"--threads {max(arguments.threads)}: this process may use {cpus} CPUs")
    if min(arguments.repetitions, arguments.routings) < 1 or arguments.seconds < 0:
        parser.error("--repetitions and --routings must be at least 1, --seconds at least 0")
    try:
        arguments.entries = catalogue.choose([name for name in arguments.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: no such folder")
    if not arguments.library.exists():
        parser.error(f"no {arguments.library}: build zenwoq first, or say --library")
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
        data: dict[str, Any],
    ):
        self._arguments = arguments
        self._threads = threads
        self._data = data
        self._workers: list[Worker] = []
        self.about: list[dict[str, Any]] = []
        settings = {"ggml": str(Path(arguments.ggml).absolute())} if arguments.ggml else {}
        for entry, python in pythons:
            worker = Worker(entry, python, threads, arguments.library, "bench.experts.worker")
            try:
                about = worker.ask("start", folder=folder, settings=settings)
            except PeerError as error:
                skip(data, entry, str(error), f", {count(threads, 'thread')}")
                worker.stop()
                continue
            self._workers.append(worker)
            self.about.append({**entry._asdict(), **about})

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
            lambda worker, text: skip(self._data, worker.entry, text, where),
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


def skip(data: dict[str, Any], entry: Entry, reason: str, where: str = "") -> None:
    """Says that a peer is not measured, and why."""
    print(f"bench.experts: NOT measured: {entry.key}{where}: {reason}", file=sys.stderr, flush=True)
    data["not_measured"].append({"key": entry.key, "where": where, "reason": reason})


def measure(arguments: argparse.Namespace, data: dict[str, Any]) -> None:
    """Fills the JSON, which is written after each number of tokens, so that results survive whatever comes."""
    begin = time.monotonic()
    entries = arguments.entries
    pythons: list[tuple[Entry, str | Path]] = [(entry, arguments.python) for entry in entries]
    if not arguments.python:
        known = catalogue.ENTRIES
        there = install_entries(entries, known, arguments.venv, lambda entry, text: skip(data, entry, text))
        pythons = [(entry, python) for entry, python in there]
    with tempfile.TemporaryDirectory() as folder:
        for threads in arguments.threads:
            session = Session(arguments, pythons, threads, folder, data)
            data["peers"] = data["peers"] or session.about
            try:
                for block in arguments.block:
                    for tokens in sorted(set(arguments.tokens)):
                        data["rows"] += session.measure(block, tokens)
                        data["wall_seconds"] = time.monotonic() - begin
                        done = f"{block.name}, {count(tokens, 'token')}, {count(threads, 'thread')} done"
                        print(f"bench.experts: {done} after {data['wall_seconds']:.0f} s", file=sys.stderr, flush=True)
                        if arguments.json:
                            arguments.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            finally:
                session.stop()


def main() -> int:
    """Measures, writes, prints."""
    arguments = parse_arguments()
    data: dict[str, Any] = {
        "kind": "experts",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "repetitions": arguments.repetitions,
        "seconds": arguments.seconds,
        "routings": arguments.routings,
        "peers": [],
        "rows": [],
        "not_measured": [],
    }
    measure(arguments, data)
    zenwoq = next((peer for peer in data["peers"] if peer["key"] == catalogue.BASE), None)
    if zenwoq is None:
        print("bench.experts: without zenwoq there is nothing to compare with", file=sys.stderr)
        return 1
    data.update({key: zenwoq[key] for key in ("cpu", "uarch", "tier", "tuning", "l3_bytes")})
    if arguments.json:
        arguments.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(tables(data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
