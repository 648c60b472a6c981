# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The environment of vLLM's tests, models on disk, engines, and the server.

These tests run in an environment of their own (tools/vllm_venv.sh); in others they are not collected.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_vllm = importlib.util.find_spec("vllm")
HAS_VLLM = _vllm is not None and _vllm.origin is not None  # this folder has the name too, and no origin
collect_ignore_glob = [] if HAS_VLLM else ["test_*.py"]
LONG = os.environ.get("ZENWOQ_VLLM_LONG") == "1"

if HAS_VLLM:
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_CPU_OMP_THREADS_BIND="nobind",  # else two processes on one NUMA node are refused
        OMP_NUM_THREADS="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",  # engines of tests are in this process; the server's is not
        VLLM_CPU_CI_ENV="1",  # compiled models are traced, but not compiled by inductor; no warm-up
        VLLM_HOST_IP="127.0.0.1",
        GLOO_SOCKET_IFNAME="lo",
    )
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would win over what the engines are given
    for name in ("ZENWOQ_VLLM", "VLLM_PLUGINS", "VLLM_CPU_INT4_W4A8", "VLLM_DISABLED_KERNELS"):
        os.environ.pop(name, None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: runs with ZENWOQ_VLLM_LONG=1 only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not LONG:
            item.add_marker(pytest.mark.skip(reason="a long test: ZENWOQ_VLLM_LONG=1 runs it"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a model by its name, or of NAME-dense; makes both when one is asked for."""
    import models

    root = tmp_path_factory.mktemp("models")

    def of(name: str) -> Path:
        if not (root / name).exists():
            models.write(root, name.removesuffix("-dense"))
        return root / name

    return of


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the plugin writes to vLLM's log."""
    written: list[str] = []

    def write(record: logging.LogRecord) -> bool:  # a filter: vLLM's first engine takes handlers away
        written.append(record.getMessage())
        return True

    log = logging.getLogger("vllm.plugins.zenwoq")
    log.addFilter(write)
    yield written
    log.removeFilter(write)


@pytest.fixture(scope="session")
def server(folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A server with two tensor-parallel workers, which was started when the tests began."""
    from servers import Server

    started = Server(folder("ct-64"), tmp_path_factory.mktemp("server"), "--tensor-parallel-size", "2")
    yield started
    started.kill()


@pytest.fixture(scope="session", autouse=True)
def start_server_early(request: pytest.FixtureRequest) -> None:
    """Starting takes most of a minute, in which the other tests run."""
    needed = [item for item in request.session.items if "server" in getattr(item, "fixturenames", ())]
    if any(LONG or not item.get_closest_marker("long") for item in needed):
        request.getfixturevalue("server")
