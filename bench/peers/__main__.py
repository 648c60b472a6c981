# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures zenwoq and its peers in one run: on the same weights, interleaved, each in a separate process.

bench/results/README.md says how to read the results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.peers import catalogue, schedule
from bench.peers.catalogue import Entry
from bench.peers.install import default_folder, install_entries
from bench.peers.process import REPOSITORY, PeerError, Worker
from bench.report import run
from bench.report.figures import Spread
from bench.report.peers import PeersReport, print_peers


def numbers(count: int | None, least: int) -> Callable[[str], list[int]]:
    """A parser of `count` comma-separated numbers (None: any count), each at least `least`."""

    def parse(text: str) -> list[int]:
        values = [int(part) for part in text.split(",")]
        if (count and len(values) != count) or min(values) < least:
            raise ValueError
        return values

    parse.__name__ = f"{count or 'list of'} numbers from {least} on"  # for argparse's sentence
    return parse


def parse_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="peers.py",
        description="Installs the peers from PyPI into an environment of their own, measures them and zenwoq, and "
        "prints a table. For figures that count: on a machine that does nothing else, under taskset with as many CPUs "
        "as threads.",
    )
    parser.add_argument(
        "--shape", type=numbers(2, 8), action="append", metavar="N,K", help="may be repeated; default: 4096,4096"
    )
    parser.add_argument(
        "--m",
        type=numbers(None, 1),
        default=[1, 4, 16, 64, 128, 512, 2048],
        metavar="M,...",
        help="rows of activations; default: 1,4,16,64,128,512,2048",
    )
    parser.add_argument("--group", type=int, default=128, help="group size; default: 128")
    parser.add_argument("--threads", type=int, default=1, help="of each peer; default: 1")
    parser.add_argument(
        "--only",
        default="",
        metavar="PEER,...",
        help=f"these and zenwoq: {', '.join(entry.key for entry in catalogue.ENTRIES)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repetitions", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each repetition, at least; default: 0.2")
    parser.add_argument(
        "--cold-mib",
        type=int,
        default=0,
        metavar="MIB",
        help="of weights to rotate over for M up to 16; default: 256 and 2.5 times the L3",
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
    arguments.shape = arguments.shape or [[4096, 4096]]
    if arguments.group < 8 or arguments.group % 8:
        parser.error(f"--group {arguments.group}: must be a multiple of 8")
    for n, k in arguments.shape:
        if k % arguments.group:
            parser.error(f"--shape {n},{k}: K must be a multiple of the group size {arguments.group}")
    cpus = len(os.sched_getaffinity(0))
    if not 1 <= arguments.threads <= cpus:
        parser.error(f"--threads {arguments.threads}: this process may use {cpus} CPUs")
    if arguments.repetitions < 1 or arguments.seconds < 0 or arguments.cold_mib < 0:
        parser.error("--repetitions must be at least 1, --seconds and --cold-mib at least 0")
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
    """The peers that run, and why others do not.

    Attributes:
        workers: the processes of the peers that run.
        about: the answer of each to start.
        call_us: the cost of a call of each.
        not_measured: what was not measured and why, for the JSON.
    """

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        self.workers: list[Worker] = []
        self.about: dict[Worker, dict[str, Any]] = {}
        self.call_us: dict[Worker, float | None] = {}
        self.not_measured: list[dict[str, Any]] = []

    def start(self) -> None:
        """Starts all peers that can be installed."""
        for entry, python in self._install():
            worker = Worker(entry, python, self._arguments.threads, self._arguments.library)
            try:
                self.about[worker] = worker.ask("start")
            except PeerError as error:
                self._skip(entry, str(error))
                worker.stop()
                continue
            self.workers.append(worker)
            try:
                self.call_us[worker] = worker.ask("call", k=self._arguments.group)["call_us"]
            except PeerError:
                self.call_us[worker] = None  # it cannot run so small a layer

    def measure(self, shape: Sequence[int], m: int) -> list[dict[str, Any]]:
        """Measures one shape and M; returns rows of the JSON."""
        n, k = shape
        group = self._arguments.group
        copies = schedule.copies(n, k, m, self._l3_bytes(), self._arguments.cold_mib << 20)
        problem = {"n": n, "k": k, "group": group, "m": m, "copies": copies}
        measurements = schedule.measure(
            self.workers,
            problem,
            self._arguments.repetitions,
            self._arguments.seconds,
            lambda worker, text: self._skip(worker.entry, text, shape, m),
        )
        rows = []
        for measurement in measurements:
            entry = measurement.worker.entry
            figure = Spread.of(measurement.times_us)
            rows.append(
                {
                    "shape": [n, k],
                    "group": group,
                    "m": m,
                    "threads": self._arguments.threads,
                    "implementation": entry.implementation,
                    "mode": entry.mode,
                    "median_us": figure.median,
                    "low_us": figure.low,
                    "high_us": figure.high,
                    "spread": (figure.high - figure.low) / figure.median,
                    "repetitions_us": measurement.times_us,
                    "busy": statistics.median(measurement.busy),
                    "copies": copies,
                    "relative_error": measurement.prepared["relative_error"],
                    "bytes_per_weight": measurement.prepared.get("bytes_per_weight"),
                    "notes": measurement.prepared["notes"],
                }
            )
        return rows

    def peers(self) -> list[dict[str, Any]]:
        """The peers that run, for the JSON."""
        return [
            {
                "key": worker.entry.key,
                "implementation": worker.entry.implementation,
                "mode": worker.entry.mode,
                "activations": worker.entry.activations,
                "output": worker.entry.output,
                "call_us": self.call_us[worker],
                **self.about[worker],
            }
            for worker in self.workers
        ]

    def zenwoq(self) -> dict[str, Any] | None:
        """What zenwoq says about itself and the CPU; None if it does not run."""
        return next((about for worker, about in self.about.items() if worker.entry.key == "zenwoq"), None)

    def stop(self) -> None:
        """Ends all processes."""
        for worker in self.workers:
            worker.stop()

    def _install(self) -> Sequence[tuple[Entry, str | Path]]:
        """Installs the peers; returns each that is there, with its Python."""
        entries = self._arguments.entries
        if self._arguments.python:
            return [(entry, self._arguments.python) for entry in entries]
        return install_entries(entries, catalogue.ENTRIES, self._arguments.venv, self._skip)

    def _l3_bytes(self) -> int:
        return int((self.zenwoq() or {})["l3_bytes"])

    def _skip(self, entry: Entry, reason: str, shape: Sequence[int] | None = None, m: int | None = None) -> None:
        where = f", {shape[0]} x {shape[1]}, M = {m}" if shape else ""
        print(f"peers.py: NOT measured: {entry.key}{where}: {reason}", file=sys.stderr, flush=True)
        self.not_measured.append(
            {
                "key": entry.key,
                "implementation": entry.implementation,
                "mode": entry.mode,
                "shape": shape,
                "m": m,
                "reason": reason,
            }
        )


def main() -> int:
    """Measures, writes, prints."""
    arguments = parse_arguments()
    begin = time.monotonic()
    session = Session(arguments)
    try:
        session.start()
        zenwoq = session.zenwoq()
        if zenwoq is None:
            print("peers.py: without zenwoq there is nothing to compare with", file=sys.stderr)
            return 1
        data = {
            "kind": "peers",
            **{key: zenwoq[key] for key in ("cpu", "uarch", "tier", "tuning", "l3_bytes")},
            "zenwoq_version": zenwoq["version"],
            "threads": arguments.threads,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "repetitions": arguments.repetitions,
            "seconds": arguments.seconds,
            "peers": session.peers(),
            "rows": [],
            "not_measured": session.not_measured,
        }
        for shape in arguments.shape:
            for m in sorted(set(arguments.m)):
                data["rows"] += session.measure(shape, m)
                data["wall_seconds"] = time.monotonic() - begin
                done = f"{shape[0]} x {shape[1]}, M = {m} done after {data['wall_seconds']:.0f} s"
                print(f"peers.py: {done}", file=sys.stderr, flush=True)
                if arguments.json:
                    # Written after each M, so that results survive whatever comes.
                    arguments.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    finally:
        session.stop()
    print_peers(PeersReport.of(run.of_data("peers.py", data)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
