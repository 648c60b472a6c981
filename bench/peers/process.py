# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# A worker as the command sees it: one request at a time, and an error for whatever may happen to a process.
import json
import os
import pathlib
import selectors
import signal
import subprocess
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 300
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PeerError(Exception):
    """Why a peer did not do something, in one line."""


class Worker:
    def __init__(self, entry, python, threads, settings):
        self.entry = entry
        self._log = tempfile.TemporaryFile()
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        self._process = subprocess.Popen(
            [python, "-m", "peers.worker", entry.key, str(threads), json.dumps(settings)], cwd=BENCH, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._read = b""

    def ask(self, command, **arguments):
        """The answer, a dict. Raises PeerError; after a dead or silent process, every further ask does."""
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerError(self._death()) from None
        answer = json.loads(self._line(command))
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def stop(self):
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            try:
                file.close()
            except OSError:
                pass  # a request that nobody read

    def _line(self, command):
        end = time.monotonic() + TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0, end - time.monotonic())):
                    self._process.kill()
                    raise PeerError(f"no answer to {command} after {TIMEOUT_S} s")
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    raise PeerError(self._death())
                self._read += part
        line, self._read = self._read.split(b"\n", 1)
        return line

    def _death(self):
        """How the process ended, and the last it said."""
        status = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"its process ended with {how}{': ' + said[-1][:300] if said else ''}"
