# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A worker as the program sees it: it takes one request at a time, and whatever happens to its process is an error."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.peers.catalogue import Entry

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 300
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PeerError(Exception):
    """Why a peer did not do something, in one line."""


class Worker:
    """A process that runs one peer."""

    def __init__(self, entry: Entry, python: str | Path, threads: int, library: Path, module: str):
        self.entry = entry
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        # Last, so that a stub of a test comes first: the binding of the Python package in this tree.
        path = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(threads)),
            "PYTHONPATH": os.pathsep.join([*path, str(REPOSITORY / "python")]),
            "ZENWOQ_LIBRARY": str(library.resolve()),
        }
        self._process = subprocess.Popen(
            [python, "-m", module, entry.key, str(threads)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._read = b""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Returns the answer or raises PeerError, as does every further request once the process is dead or silent."""
        try:
            self._stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise PeerError(self._death()) from None
        answer: dict[str, Any] = json.loads(self._line(command))
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for file in (self._stdin, self._stdout, self._log):
            with contextlib.suppress(OSError):  # a request that nobody read
                file.close()

    def _line(self, command: str) -> bytes:
        end = time.monotonic() + TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0, end - time.monotonic())):
                    self._process.kill()
                    raise PeerError(f"no answer to {command} after {TIMEOUT_S} s")
                part = os.read(self._stdout.fileno(), 65536)
                if not part:
                    raise PeerError(self._death())
                self._read += part
        line, self._read = self._read.split(b"\n", 1)
        return line

    def _death(self) -> str:
        """How the process ended, and the last thing that it said."""
        status = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"its process ended with {how}{': ' + said[-1][:300] if said else ''}"


def start(
    pythons: Iterable[tuple[Entry, str | Path]],
    threads: int,
    library: Path,
    failed: Callable[[Entry, str], None],
    module: str = "bench.peers.worker",
    **arguments: Any,
) -> Iterator[tuple[Worker, dict[str, Any]]]:
    """Starts peers one after another; yields each with its answer to start.

    Args:
        pythons: the peers, each with the Python that runs it.
        threads: of each.
        library: zenwoq's.
        failed: called with those that do not start, and why.
        module: what runs them.
        arguments: of start.
    """
    for entry, python in pythons:
        worker = Worker(entry, python, threads, library, module)
        try:
            about = worker.ask("start", **arguments)
        except PeerError as error:
            failed(entry, str(error))
            worker.stop()
            continue
        yield worker, about
