# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The programs in examples/ and bench/, run as a user runs them, with small models where they can be small."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from bench.report.run import load


def run(program: str, *options: str, status: int = 0) -> str:
    """Runs a Python program of the tree, which must end with this status; returns its output."""
    command = [sys.executable, str(ROOT / program), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == status, f"{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


@pytest.mark.parametrize("quantize", ["gguf", "intx-group", "intx-channel", "opaque"])
def test_chat(smollm2, quantize):
    question = ("--prompt", "What is the capital of France?", "--max-new-tokens", "3", "--threads", "1")
    output = run("examples/chat.py", "--quantize", quantize, *question)
    assert "210 of 211 linears run on zenwoq" in output
    assert re.search(r"^The capital of", output, re.MULTILINE), output
    assert re.search(r"prefill [0-9.]+ tokens/s \([0-9]+\), decode [0-9.]+ tokens/s \(2\)", output), output


def test_chat_compiled(smollm2):
    """The compiled model gives the same tokens."""
    question = ("--prompt", "What is the capital of France?", "--max-new-tokens", "8", "--threads", "1")
    output = run("examples/chat.py", "--compile", *question)
    assert "The capital of France is Paris." in output


def test_chat_with_a_saved_model(smollm2, tmp_path):
    """save_pretrained, a fresh process, from_pretrained: the same answer as before."""
    assert re.search(r"saved in [0-9.]+ s", run("examples/chat.py", "--save", str(tmp_path / "packed")))
    question = ("--prompt", "What is the capital of France?", "--max-new-tokens", "8", "--threads", "1")
    output = run("examples/chat.py", "--model", str(tmp_path / "packed"), *question)
    assert "The capital of France is Paris." in output and "linears run on zenwoq" not in output


def test_chat_without_its_model(tmp_path):
    assert "is missing" in run("examples/chat.py", "--model", str(tmp_path / "none.gguf"), status=1)


def test_quantize_and_run():
    output = run("examples/quantize_and_run.py", "--layers", "1", "--hidden", "512")
    assert output.count("7 of 8 linears run on zenwoq") == 3, output


def test_bench(tmp_path):
    path = tmp_path / "tiny.json"
    output = run("bench/llm.py", "--tiny", "--threads", "1", "--json", str(path))
    result = json.loads(path.read_text())
    stored = load(path)
    csv = tmp_path / "tiny.csv"
    csv.write_text(stored.csv())
    assert load(csv).rows == stored.rows
    assert {row["name"] for row in stored.rows} == {row["name"] for row in result["rows"]}
    assert {"cpu", "threads", "versions", "bandwidth_gb_s", "rows", "aims", "missing", "seconds"} <= result.keys()
    rows = {row["name"]: row for row in result["rows"] if row["part"] == "llama"}
    assert {"torch bf16 eager", "TorchAO opaque eager", "zenwoq intx eager", "zenwoq intx inductor"} <= rows.keys()
    for name, row in rows.items():
        assert row["error"] < 0.05, f"{name} differs by {row['error']:.1%} from others with the same weights"
        assert row["token_ms"] > 0 < row["prompt_ms"], name
        assert name in output
    assert {row["part"] for row in result["rows"]} == {"operator", "blocks", "llama", "optimize"}
    assert all({"text", "value", "limit", "met"} <= aim.keys() for aim in result["aims"])


def test_memory_of_optimize():
    """The process grows by a layer, not by the model, whose 25 MiB of weights become 12 MiB."""
    code = "import json; from bench.llm.optimize_cost import Sizes, optimize_row; "
    code += "print(json.dumps(optimize_row(Sizes(layers=2, hidden=1024), 2).values))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    memory = json.loads(result.stdout)
    assert memory["peak_over_before_mib"] < 6, memory
    assert memory["after_mib"] - memory["before_mib"] < -5, memory
