# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The part of vllm_two_hosts.sh inside of host 1's namespace: starts servers, asks them, compares, kills a worker."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ADDRESSES = ("192.0.2.1", "192.0.2.2")
PORT, MASTER_PORT = 8000, 29501
PARALLEL = {"tensor": "--tensor-parallel-size", "pipeline": "--pipeline-parallel-size"}
PROMPTS = [[10 + (7 * i + 31 * j) % 400 for i in range(length)] for j, length in enumerate((5, 20, 64, 100))]
TOKENS = 16
START, STEP, END = 300, 30, 150  # seconds; STEP: see environment()
BOUND = 0.4  # of logprobs under tensor parallel: partial sums are rounded to bfloat16 and added
NEAR_TIE = 0.3  # of logprobs: where the second best token is nearer, those roundings may choose it
# A pipeline's second process has no place for its input until a warm-up, and eager models have none (vLLM 0.32).
TRACED = {"mode": 2, "backend": "eager", "custom_ops": ["all"]}


def environment(host: int) -> dict[str, str]:
    """What vLLM needs to know on a host."""
    return os.environ | {
        "VLLM_HOST_IP": ADDRESSES[host],  # where message queues listen; else a route to the internet is looked for
        "GLOO_SOCKET_IFNAME": "link0",  # where the processes' sums go; else what the host's name resolves to
        "TP_SOCKET_IFNAME": "link0",
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # both hosts are one machine here
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(STEP),  # for a worker's answer; 300 by default
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
        "VLLM_CPU_CI_ENV": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def headless() -> None:
    """What ``vllm serve --headless`` does. The command itself ends at start in the distribution vllm-cpu 0.32.0."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    ServeSubcommand.cmd(make_arg_parser(FlexibleArgumentParser()).parse_args(["--headless", *sys.argv[2:]]))


class Host:
    """A process of vLLM, with its workers."""

    def __init__(self, index: int, options: argparse.Namespace, name: str, parallel: list[str]) -> None:
        self.log = Path(options.work) / f"{name}.log"
        command = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["sh", "-c"]
        command += ['mount -t tmpfs tmpfs /dev/shm && hostname "$0" && exec "$@"', f"host{index + 1}", sys.executable]
        if index == 0:
            command += ["-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(PORT)]
        else:
            command = ["ip", "netns", "exec", options.host2, *command, __file__, "headless"]
        command += ["--model", options.model, "--served-model-name", "model", "--dtype", "bfloat16"]
        command += ["--max-model-len", "1024", "--max-num-seqs", "8", "--kv-cache-memory-bytes", str(128 << 20)]
        command += ["--no-enable-prefix-caching", "--compilation-config", json.dumps(TRACED), *parallel]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment(index), stdout=log, stderr=subprocess.STDOUT)

    def family(self) -> list[int]:
        """Its processes, itself first."""
        found = [self.process.pid]
        for pid in found:
            try:
                found += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            except OSError:
                continue
        return found

    def workers(self) -> list[int]:
        """The processes that compute."""
        return [pid for pid in self.family() if "Worker" in Path(f"/proc/{pid}/cmdline").read_text()]

    def said(self, *words: str) -> str:
        """The first line of the log with one of the words."""
        for line in self.log.read_text().splitlines():
            if any(word in line for word in words):
                return line.strip()
        return "nothing"

    def kill(self) -> None:
        """Ends all of it."""
        if self.process.poll() is None:
            self.process.kill()  # unshare's child gets the signal too, and all that is in its namespace of processes
            self.process.wait()


def fail(text: str, hosts: list[Host]) -> None:
    """Prints what the hosts said last, and ends."""
    for host in hosts:
        print(f"--- the end of {host.log.name}\n{host.log.read_text()[-6000:]}", file=sys.stderr)
        host.kill()
    sys.exit(f"vllm_two_hosts: {text}")


def post(asked: dict[str, Any], timeout: float = 120) -> dict[str, Any]:
    """Asks host 1's server for a completion."""
    body = json.dumps({"model": "model", "temperature": 0, "ignore_eos": True} | asked).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/completions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)  # type: ignore[no-any-return]


def wait_until_ready(hosts: list[Host]) -> float:
    """Returns how many seconds it took."""
    begin = time.monotonic()
    while time.monotonic() < begin + START:
        for host in hosts:
            if host.process.poll() is not None:
                fail(f"{host.log.stem} ended with {host.process.returncode}", hosts)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                return time.monotonic() - begin
        except OSError:
            time.sleep(0.2)
    fail(f"not ready after {START} s", hosts)
    raise AssertionError


@dataclasses.dataclass
class Answer:
    """The tokens of an answer, how far each is before the second best, and logprobs of the prompt and of them."""

    tokens: list[int]
    leads: list[float]
    prompt: list[float]
    logprobs: list[float]


def answers() -> list[Answer]:
    """Greedy answers to the prompts."""
    made = []
    for prompt in PROMPTS:
        asked = {"prompt": prompt, "max_tokens": TOKENS, "logprobs": 2, "prompt_logprobs": 0, "return_token_ids": True}
        asked["return_tokens_as_token_ids"] = True  # else tokens with one text have one logprob
        choice = post(asked)["choices"][0]
        best = [sorted(step.values(), reverse=True) for step in choice["logprobs"]["top_logprobs"]]
        made.append(
            Answer(
                choice["token_ids"],
                [first - second for first, second, *_ in best],
                [step[str(i)]["logprob"] for step, i in zip(choice["prompt_logprobs"][1:], prompt[1:], strict=True)],
                choice["logprobs"]["token_logprobs"],
            )
        )
    return made


def difference(one: Answer, other: Answer) -> tuple[int, float]:
    """How many tokens are the same from the first on, and the largest difference of logprobs with one history."""
    same = 0
    while same < TOKENS and one.tokens[same] == other.tokens[same]:
        same += 1
    pairs = zip(one.prompt + one.logprobs[:same], other.prompt + other.logprobs[:same], strict=True)
    return same, max(abs(a - b) for a, b in pairs)


def sent() -> int:
    """How many bytes host 1 has sent to host 2."""
    return int(Path("/sys/class/net/link0/statistics/tx_bytes").read_text())


def start(options: argparse.Namespace, mode: str, name: str) -> tuple[list[Host], float]:
    """Starts both hosts; returns them when they serve, and the seconds that it took."""
    parallel = [PARALLEL[mode], "2", "--nnodes", "2", "--master-addr", ADDRESSES[0], "--master-port", str(MASTER_PORT)]
    hosts = [
        Host(index, options, f"{name}-host{index + 1}", [*parallel, "--node-rank", str(index)]) for index in (0, 1)
    ]
    return hosts, wait_until_ready(hosts)


def compare(mode: str, what: str, one: list[Answer], hosts: list[Host], took: float) -> None:
    """Prints how the answers differ from those of one process; ends if they differ by more than roundings."""
    before, begin = sent(), time.monotonic()
    given = answers()
    bytes_sent, seconds = sent() - before, time.monotonic() - begin
    found = [difference(a, b) for a, b in zip(one, given, strict=True)]
    furthest = max(far for _, far in found)
    leads = [a.leads[same] for a, (same, _) in zip(one, found, strict=True) if same < TOKENS]
    print(
        f"{what}: ready after {took:.0f} s; {len(one) - len(leads)} of {len(one)} answers have one process's tokens"
        + (f", the others up to ties of {', '.join(f'{lead:.2f}' for lead in leads)}" if leads else "")
        + f"; logprobs differ by at most {furthest:.3g}; host 1 sent {bytes_sent:,} bytes in {seconds:.1f} s",
        flush=True,
    )
    # A pipeline has the same sums as one process, and gives the same bits.
    if furthest > (BOUND if mode == "tensor" else 0) or any(lead > NEAR_TIE or mode == "pipeline" for lead in leads):
        fail("answers differ", hosts)


def kill_worker(hosts: list[Host]) -> None:
    """Kills host 2's worker amid a request, and says what became of all."""
    outcome: list[str] = []

    def ask() -> None:
        try:
            post({"prompt": PROMPTS[0], "max_tokens": 900}, timeout=END)
            outcome.append("it was answered")
        except urllib.error.HTTPError as error:
            outcome.append(f"HTTP {error.code}: {error.read().decode()[:300]}")
        except OSError as error:
            outcome.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    time.sleep(2)
    workers = hosts[1].workers()
    if len(workers) != 1 or outcome:
        fail(f"host 2 has workers {workers}; the request ended before one could be killed: {outcome}", hosts)
    os.kill(workers[0], signal.SIGKILL)
    begin = time.monotonic()
    ended: dict[str, float] = {}
    while len(ended) < 3 and time.monotonic() < begin + END:
        for name, over in (
            ("the request", not asking.is_alive()),
            ("host 1's server", hosts[0].process.poll() is not None),
            ("host 2", hosts[1].process.poll() is not None),
        ):
            if over and name not in ended:
                ended[name] = time.monotonic() - begin
        time.sleep(0.05)
    for name in ("the request", "host 1's server", "host 2"):
        print(
            f"worker of host 2 killed: {name} ended after {ended[name]:.1f} s" if name in ended else f"{name} goes on",
            flush=True,
        )
    print(f"  the client saw: {outcome[0] if outcome else 'nothing'}")
    said = hosts[0].said("Connection closed by peer", "Connection reset", "died", "EngineDeadError")
    print(f"  host 1's log: {said}")
    print(f"  host 2's log: {hosts[1].said('died')}", flush=True)
    if len(ended) < 3:
        fail(f"after {END} s only {', '.join(ended) or 'nothing'} ended", hosts)


def main() -> None:
    """Runs all steps."""
    parser = argparse.ArgumentParser(prog="vllm_two_hosts.sh", description="see the head of the script")
    parser.add_argument("host2", help=argparse.SUPPRESS)
    parser.add_argument("work", help=argparse.SUPPRESS)
    parser.add_argument("--model", help="a folder; by default a small random model, compressed-tensors in groups of 64")
    parser.add_argument("--modes", default="tensor,pipeline", help="some of tensor,pipeline")
    parser.add_argument("--no-failure", action="store_true", help="no worker is killed")
    options = parser.parse_args()
    modes = options.modes.split(",")
    if unknown := [mode for mode in modes if mode not in PARALLEL]:
        parser.error(f"no mode {unknown[0]!r}: tensor, pipeline")
    if options.model is None:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python/tests/vllm"))
        import models

        models.write(Path(options.work), "ct-64")
        options.model = str(Path(options.work) / "ct-64")

    alone = [Host(0, options, "one-process", [])]
    took = wait_until_ready(alone)
    one = answers()
    line = alone[0].said("zenwoq 0", "zenwoq steps")
    print(f"one process: ready after {took:.0f} s; {line}", flush=True)
    alone[0].kill()
    for mode in modes:
        hosts, took = start(options, mode, mode)
        compare(mode, f"{mode} parallel 2 on two hosts", one, hosts, took)
        if not options.no_failure:
            kill_worker(hosts)
            for host in hosts:
                host.kill()
            hosts, took = start(options, mode, f"{mode}-again")
            compare(mode, "started again", one, hosts, took)
        for host in hosts:
            host.kill()


if __name__ == "__main__":
    headless() if sys.argv[1:2] == ["headless"] else main()
