# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A vLLM server on the loopback interface, and vLLM's benchmark client for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.serve.engines import Engine
from bench.serve.environment import Environment, ServeError

START_S = 900  # compiles, on a slow and busy machine
RUN_S = 3600
END_S = 30
# "(EngineCore pid=42) ERROR 11-27 00:47:50 [core.py:1099] "
_PREFIX = re.compile(r"^(\(.*?pid=\d+\) ?)?((ERROR|WARNING|INFO|DEBUG) [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
_ERROR = re.compile(r"^([\w.]*(Error|Exception)(: .*)?|.*(died unexpectedly|Segfault encountered).*)$")
_FAILED = "EngineCore failed to start"  # after which the server may stay, and never serve
_ENDED = "EngineCore encountered a fatal error"
_FOLLOWS = re.compile(r"Engine core initialization failed|See root cause|cancelled|EngineDeadError")


class Load(NamedTuple):
    """What the client asks for: `prompts` requests in all, `requests` at once."""

    requests: int
    prompts: int
    input_tokens: int
    output_tokens: int
    seed: int


def reason(log: str) -> str:
    """The first error of a server's log, since what comes after follows from it; else its last line; may be empty."""
    lines = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    errors = [line for line in lines if _ERROR.match(line) and not _FOLLOWS.search(line)]
    said = [line for line in lines if line]
    return [*errors[:1], *said[-1:], ""][0][:300]


class Server:
    """A server process, and all that it starts.

    Attributes:
        start_s: seconds until it served.
    """

    def __init__(self, engine: Engine, environment: Environment, zentorch: Path | None, log: Path, cache: Path):
        self._engine = engine
        self._environment = environment
        self._variables = environment.variables(engine, zentorch, cache)
        self._log = log
        with socket.socket() as any_port:
            any_port.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{any_port.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._checkpoint = Path()
        self.start_s = 0.0

    def start(self, checkpoint: Path, options: Sequence[str]) -> None:
        """Starts it, and waits until it serves by the engine that is meant. Raises ServeError."""
        began = time.monotonic()
        self._checkpoint = checkpoint
        port = self._url.rpartition(":")[2]
        command: list[str | Path] = [self._environment.python, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", checkpoint, "--host", "127.0.0.1", "--port", port, "--dtype", "bfloat16"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--no-enable-prefix-caching", "--disable-uvicorn-access-log", *options],
                cwd="/",  # nothing of this folder is to be imported
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._serves():
            said = self._log.read_text(errors="replace")
            status = self._process.poll()
            if status is not None or _FAILED in said:
                raise ServeError(reason(said) or f"it ended with status {status}, and said nothing")
            if time.monotonic() > began + START_S:
                raise ServeError(f"it did not serve after {START_S} s")
            time.sleep(0.2)
        self.start_s = time.monotonic() - began
        if not re.search(self._engine.proof, self._log.read_text(errors="replace")):
            raise ServeError(f'it runs, but not on what is meant: its log has no "{self._engine.proof}"')

    def loss(self, text: str) -> float:
        """The mean negative log-likelihood of a text's tokens, in nats. Raises ServeError."""
        body = {"model": str(self._checkpoint), "prompt": text, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        request = urllib.request.Request(
            f"{self._url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=END_S * 10) as answer:
                tokens = json.load(answer)["choices"][0]["prompt_logprobs"]
        except (OSError, KeyError, ValueError) as error:
            raise ServeError(f"/v1/completions: {error}") from None
        return -statistics.fmean(next(iter(token.values()))["logprob"] for token in tokens if token)

    def measure(self, load: Load) -> dict[str, Any]:
        """Runs vLLM's client; returns its results. Raises ServeError if a request failed."""
        with tempfile.TemporaryDirectory() as folder:
            self._environment.run(
                "client",
                *("--backend", "openai", "--base-url", self._url, "--model", str(self._checkpoint)),
                *("--dataset-name", "random", "--temperature", "0", "--ignore-eos", "--disable-tqdm"),
                *("--random-input-len", str(load.input_tokens), "--random-output-len", str(load.output_tokens)),
                *("--num-prompts", str(load.prompts), "--max-concurrency", str(load.requests)),
                *("--num-warmups", str(load.requests), "--seed", str(load.seed)),
                *("--percentile-metrics", "ttft,tpot,itl", "--metric-percentiles", "99"),
                *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
                timeout_s=RUN_S,
            )
            result: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
        done, tokens = result["completed"], result["total_output_tokens"]
        if done != load.prompts or tokens != load.prompts * load.output_tokens:
            wanted = f"{load.prompts} requests with {load.output_tokens} tokens each"
            said = self._log.read_text(errors="replace")
            why = f"; {reason(said)}" if _ENDED in said else ""
            raise ServeError(f"{done} requests of {wanted} were answered, with {tokens} tokens in all{why}")
        return result

    def stop(self) -> None:
        """Ends it and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session: engine and workers
        process.wait()

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
