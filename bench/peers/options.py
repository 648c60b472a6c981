# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Options that all programs have which measure peers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.peers.catalogue import Entry, choose
from bench.peers.install import default_folder
from bench.peers.process import REPOSITORY


def numbers(count: int | None, least: int) -> Callable[[str], list[int]]:
    """A parser of `count` comma-separated numbers (None: any count), each at least `least`."""

    def parse(text: str) -> list[int]:
        values = [int(part) for part in text.split(",")]
        if (count and len(values) != count) or min(values) < least:
            raise ValueError
        return values

    parse.__name__ = f"{count or 'list of'} numbers from {least} on"  # for argparse's sentence
    return parse


def add_options(parser: argparse.ArgumentParser, known: Sequence[Entry], base: str) -> None:
    """Adds the options: which of the peers, how long, with what, and where to.

    Args:
        parser: gets them.
        known: all peers.
        base: the key of the one that the others are compared with.
    """
    keys = ", ".join(entry.key for entry in known)
    library = "build/src/libzenwoq.so"
    parser.add_argument("--only", default="", metavar="PEER,...", help=f"these and {base}: {keys}")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repetitions", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each repetition, at least; default: 0.2")
    parser.add_argument("--library", type=Path, default=REPOSITORY / library, help=f"default: {library}")
    parser.add_argument("--venv", type=Path, default=default_folder(), help=f"default: {default_folder()}")
    parser.add_argument("--python", metavar="PYTHON", help="a Python with the peers you have: installs nothing")


def check_options(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, known: Sequence[Entry], base: str, threads: int
) -> None:
    """Ends the program if one of these options is wrong. arguments.entries: the peers that were chosen.

    Args:
        parser: says what is wrong.
        arguments: what it read.
        known: as in add_options.
        base: as in add_options.
        threads: the most that a peer will have.
    """
    cpus = len(os.sched_getaffinity(0))
    if not 1 <= threads <= cpus:
        parser.error(f"--threads {threads}: this process may use {cpus} CPUs")
    if arguments.repetitions < 1 or arguments.seconds < 0:
        parser.error("--repetitions must be at least 1, --seconds at least 0")
    try:
        arguments.entries = choose([name for name in arguments.only.split(",") if name], known, base)
    except ValueError as error:
        parser.error(str(error))
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: no such folder")
    if not arguments.library.exists():
        parser.error(f"no {arguments.library}: build zenwoq first, or say --library")
