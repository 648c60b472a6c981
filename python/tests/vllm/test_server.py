# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP server with two tensor-parallel workers. The last test ends it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engines
import httpx
import psutil
import pytest
from servers import STOP, Server

TOKENS = 12
# Of logprobs: partial sums are rounded to bfloat16 and added, two in each layer.
PARALLEL_BOUND = 0.4
MANY = 30_000  # tokens: this model makes a thousand a second, and no request may end before it is looked at
Folder = Callable[[str], Path]


@pytest.fixture(scope="module", autouse=True)
def ready(server: Server) -> None:
    server.ready()


def prompt_of(index: int) -> list[int]:
    return [6 + (37 * index + 11 * i) % 500 for i in range(3 + 5 * index)]


def running(server: Server) -> float:
    return server.metric("num_requests_running") + server.metric("num_requests_waiting")


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + STOP
    while not true():
        assert time.monotonic() < end, f"not within {STOP} s"
        time.sleep(0.1)


def test_models(server: Server) -> None:
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["tiny"]


def test_two_workers_answer_like_one(server: Server, folder: Folder) -> None:
    answers = engines.answers_of(folder("ct-64"))
    for answer in answers:
        given = server.completion(answer.ids, 1, prompt_logprobs=0)
        pairs = zip(given["prompt_logprobs"][1:], answer.ids[1:], strict=True)
        logprobs = [step[str(token)]["logprob"] for step, token in pairs]
        assert (answer.logprobs - answer.logprobs.new_tensor(logprobs)).abs().max() < PARALLEL_BOUND
        given = server.completion(answer.prompt, engines.TOKENS, return_token_ids=True)
        engines.agreed(answer, given["token_ids"])


def test_chat(server: Server) -> None:
    asked = {"messages": [{"role": "user", "content": "the rain"}], "max_tokens": TOKENS, "ignore_eos": True}
    reply = server.client.post("/v1/chat/completions", json={"model": "tiny", "temperature": 0} | asked).json()
    chosen = reply["choices"][0]
    assert chosen["message"]["role"] == "assistant"
    assert reply["usage"]["completion_tokens"] == TOKENS
    streamed = [
        part["choices"][0]["delta"].get("content") or "" for part in server.stream("/v1/chat/completions", **asked)
    ]
    assert "".join(streamed) == chosen["message"]["content"] != ""


def test_stream(server: Server) -> None:
    whole = server.completion(prompt_of(3), TOKENS)["text"]
    asked = {"prompt": prompt_of(3), "max_tokens": TOKENS, "ignore_eos": True}
    parts = [part["choices"][0]["text"] for part in server.stream("/v1/completions", **asked)]
    assert len(parts) > 1
    assert "".join(parts) == whole


def test_many_at_once(server: Server) -> None:
    def ask(index: int) -> list[int]:
        return server.completion(prompt_of(index), TOKENS, return_token_ids=True)["token_ids"]

    alone = [ask(index) for index in range(16)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == alone
    assert len({tuple(tokens) for tokens in alone}) > 8


def test_cancelled_request(server: Server) -> None:
    parts: Iterator[dict] = server.stream("/v1/completions", prompt=prompt_of(1), max_tokens=MANY, ignore_eos=True)
    for _ in range(3):
        next(parts)
    assert running(server) == 1
    made = server.metric("generation_tokens_total")
    parts.close()
    wait_until(lambda: running(server) == 0)
    assert server.metric("generation_tokens_total") - made < MANY / 2
    server.completion(prompt_of(2), TOKENS)


def test_refused_request(server: Server) -> None:
    asked = {"model": "tiny", "prompt": [7] * 40_000, "max_tokens": 1}
    assert server.client.post("/v1/completions", json=asked).status_code == 400
    server.completion(prompt_of(2), TOKENS)


def test_log_of_the_workers(server: Server) -> None:
    taken = [line for line in server.log.read_text().splitlines() if "took 8 compressed-tensors linears" in line]
    assert len(taken) == 1


def test_no_request_waits_for_a_kernel(server: Server) -> None:
    loading, _, serving = server.log.read_text().partition("Application startup complete")
    assert "zenwoq: info: generated " in loading
    assert serving and "zenwoq: info: generated " not in serving


def test_sigterm_while_busy(server: Server) -> None:
    asked = {"model": "tiny", "prompt": prompt_of(1), "max_tokens": MANY, "ignore_eos": True, "stream": True}
    with contextlib.ExitStack() as clients:
        asking = [server.client.stream("POST", "/v1/completions", json=asked) for _ in range(4)]
        streams = [clients.enter_context(stream) for stream in asking]
        wait_until(lambda: running(server) == 4)
        family, workers = server.family(), server.workers()
        assert len(workers) == 2
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(10)
        except subprocess.TimeoutExpired:
            # vLLM ends its workers at once, but may leave a request open until its client hangs up.
            assert not psutil.wait_procs(workers, STOP)[1]
            clients.close()
        else:
            for stream in streams:
                with contextlib.suppress(httpx.TransportError):
                    assert not any('"finish_reason":"length"' in line for line in stream.iter_lines())
        server.process.wait(STOP)
        assert not psutil.wait_procs(family, STOP)[1]


@pytest.mark.long
def test_worker_killed(folder: Folder, tmp_path: Path) -> None:
    """The server says so and ends, and another one starts."""
    model = folder("ct-64")
    for _ in range(2):
        server = Server(model, tmp_path, "--tensor-parallel-size", "2")
        try:
            server.ready()
            server.completion(prompt_of(1), TOKENS)
            family, workers = server.family(), server.workers()
            assert len(workers) == 2, [process.cmdline() for process in family]
            workers[0].kill()
            server.process.wait(STOP)
            assert "died" in server.log.read_text()
            assert not psutil.wait_procs(family, STOP)[1]
        finally:
            server.kill()
