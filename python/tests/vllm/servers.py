# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM's HTTP server on loopback."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

START, STOP = 240, 120  # seconds: long, since other work may have the cores


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """Starts at once; ready() waits for it."""

    def __init__(self, model: Path, folder: Path, *options: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "server.log"
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
            "--host", "127.0.0.1", "--port", self.url.rpartition(":")[2], "--served-model-name", "tiny",
            "--dtype", "bfloat16", "--max-model-len", "32768", "--max-num-seqs", "32", "--enforce-eager",
            "--kv-cache-memory-bytes", str(128 << 20), "--no-enable-prefix-caching", *options,
        ]  # fmt: skip
        environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "ZENWOQ_VERBOSE": "info"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.client = httpx.Client(base_url=self.url, timeout=STOP, trust_env=False)

    def ready(self) -> None:
        end = time.monotonic() + START
        while time.monotonic() < end:
            assert self.process.poll() is None, f"the server ended:\n{self.tail()}"
            try:
                if self.client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"the server is not ready after {START} s:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text()[-4000:]

    def completion(self, prompt: list[int], tokens: int, **others: Any) -> dict[str, Any]:
        asked = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        reply = self.client.post("/v1/completions", json=asked | others)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]

    def stream(self, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
        with self.client.stream("POST", path, json={"model": "tiny", "stream": True, "temperature": 0} | asked) as got:
            assert got.status_code == 200, got.read()
            for line in got.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield json.loads(line[6:])

    def metric(self, name: str) -> float:
        text = self.client.get("/metrics").text
        return sum(float(value) for value in re.findall(rf"^vllm:{name}{{.*}} (\S+)$", text, re.MULTILINE))

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if "Worker" in " ".join(process.cmdline()) + process.name()]

    def kill(self) -> None:
        """Ends whatever of it is there still."""
        if self.process.poll() is None:
            family = self.family()
            for process in family:
                process.kill()
            psutil.wait_procs(family, STOP)
        self.process.wait(STOP)
        self.client.close()
