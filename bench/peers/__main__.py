# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Measures zenwoq and its peers in one run: on the same weights, interleaved, each in a separate process.

bench/results/README.md says how to read the results.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from bench.peers import catalogue, schedule
from bench.peers.catalogue import Entry
from bench.peers.install import pythons_of
from bench.peers.options import add_options, check_options, numbers
from bench.peers.process import PeerError, Worker, start
from bench.peers.results import Results
from bench.report import run
from bench.report.figures import Spread
from bench.report.peers import PeersReport, print_peers


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
        "--cold-mib",
        type=int,
        default=0,
        metavar="MIB",
        help="of weights to rotate over for M up to 16; default: 256 and 2.5 times the L3",
    )
    add_options(parser, catalogue.ENTRIES, catalogue.BASE)
    arguments = parser.parse_args()
    arguments.shape = arguments.shape or [[4096, 4096]]
    if arguments.group < 8 or arguments.group % 8:
        parser.error(f"--group {arguments.group}: must be a multiple of 8")
    for n, k in arguments.shape:
        if k % arguments.group:
            parser.error(f"--shape {n},{k}: K must be a multiple of the group size {arguments.group}")
    if arguments.cold_mib < 0:
        parser.error("--cold-mib must be at least 0")
    check_options(parser, arguments, catalogue.ENTRIES, catalogue.BASE, arguments.threads)
    return arguments


class Session:
    """The peers that run, and why others do not.

    Attributes:
        workers: the processes of the peers that run.
        about: the answer of each to start.
        call_us: the cost of a call of each.
    """

    def __init__(self, arguments: argparse.Namespace, results: Results):
        self._arguments = arguments
        self._results = results
        self.workers: list[Worker] = []
        self.about: dict[Worker, dict[str, Any]] = {}
        self.call_us: dict[Worker, float | None] = {}

    def start(self) -> None:
        """Starts all peers that can be installed."""
        arguments = self._arguments
        pythons = pythons_of(arguments.entries, catalogue.ENTRIES, arguments.python, arguments.venv, self._skip)
        for worker, about in start(pythons, arguments.threads, arguments.library, self._skip):
            self.workers.append(worker)
            self.about[worker] = about
            try:
                self.call_us[worker] = worker.ask("call", k=arguments.group)["call_us"]
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
        return next((about for worker, about in self.about.items() if worker.entry.key == catalogue.BASE), None)

    def stop(self) -> None:
        """Ends all processes."""
        for worker in self.workers:
            worker.stop()

    def _l3_bytes(self) -> int:
        return int((self.zenwoq() or {})["l3_bytes"])

    def _skip(self, entry: Entry, reason: str, shape: Sequence[int] | None = None, m: int | None = None) -> None:
        where = f", {shape[0]} x {shape[1]}, M = {m}" if shape else ""
        names = {"implementation": entry.implementation, "mode": entry.mode}
        self._results.skip(entry, reason, where, **names, shape=shape, m=m)


def main() -> int:
    """Measures, writes, prints."""
    arguments = parse_arguments()
    results = Results(
        "peers.py",
        "peers",
        arguments.json,
        threads=arguments.threads,
        repetitions=arguments.repetitions,
        seconds=arguments.seconds,
    )
    session = Session(arguments, results)
    try:
        session.start()
        zenwoq = results.take_cpu(session.zenwoq())
        if zenwoq is None:
            return 1
        results.data.update(zenwoq_version=zenwoq["version"], peers=session.peers())
        for shape in arguments.shape:
            for m in sorted(set(arguments.m)):
                results.add(session.measure(shape, m), f"{shape[0]} x {shape[1]}, M = {m}")
    finally:
        session.stop()
    print_peers(PeersReport.of(run.of_data("peers.py", results.data)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
