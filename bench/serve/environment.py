# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM's environment as the program sees it: its Python, its variables, and what is made once and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.peers.process import REPOSITORY, THREAD_VARIABLES
from bench.serve.engines import ZENTORCH, ZENTORCH_NEEDS, Engine, Model

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zenwoq"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
# What would make engines other than they are named.
CHOSEN_HERE = ("ZENWOQ_VLLM", "VLLM_PLUGINS", "VLLM_CPU_INT4_W4A8", "VLLM_DISABLED_KERNELS")
NOT_BOUND = "nobind"  # of VLLM_CPU_OMP_THREADS_BIND
KEPT_S = 3600  # SmolLM2 is unpacked within a minute


class ServeError(Exception):
    """Why an engine does not serve, in one line."""


class Environment:
    """Where vLLM and zenwoq are installed, and how many threads servers have there.

    Attributes:
        python: its Python.
    """

    def __init__(self, python: Path, threads: int, bind: str):
        self.python = python
        self._threads = threads
        self._bind = bind

    def variables(self, engine: Engine, zentorch: Path | None, cache: Path) -> dict[str, str]:
        """The variables of an engine's server: the same for all but what the engine itself is made of.

        Args:
            engine: what serves.
            zentorch: the folder with zentorch.
            cache: where what is compiled is kept for the next repetition. Not vLLM's own: there a server that was
                killed leaves files that are cut off.
        """
        # vLLM sets the threads of a server that it binds; two threads bound to one CPU would wait for each other.
        threads = dict.fromkeys(THREAD_VARIABLES, str(self._threads)) if self._bind == NOT_BOUND else {}
        chosen = {*CHOSEN_HERE, *THREAD_VARIABLES}
        kept = {name: value for name, value in os.environ.items() if name not in chosen}
        return {
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
            **kept,
            **OFFLINE,
            **threads,
            "VLLM_CPU_OMP_THREADS_BIND": self._bind,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
            "VLLM_CACHE_ROOT": str(cache / engine.key),
            **engine.settings,
            **_in_path(zentorch if engine.zentorch else None),
        }

    def run(self, module: str, *arguments: str, timeout_s: float = KEPT_S, zentorch: Path | None = None) -> str:
        """Runs a program of this package to its end; returns what it printed. Raises ServeError."""
        command: list[str | Path] = [self.python, "-m", f"bench.serve.{module}", *arguments]
        variables = {**os.environ, **OFFLINE, **_in_path(zentorch)}
        try:
            ended = subprocess.run(
                command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except OSError as error:
            raise ServeError(f"{self.python}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ServeError(f"{module}: not done after {timeout_s:.0f} s") from None
        if ended.returncode != 0:
            said = (ended.stderr or ended.stdout).strip().splitlines()
            raise ServeError(f"{module}: {said[-1][:300] if said else f'exit status {ended.returncode}'}")
        return ended.stdout

    def about(self) -> dict[str, Any]:
        """The CPU and the versions of packages. Raises ServeError."""
        found: dict[str, Any] = json.loads(self.run("about").splitlines()[-1])
        if "zentorch" in found["versions"]:
            raise ServeError(
                f"zentorch is installed in {self.python}'s environment, so that no engine is without it: remove it "
                f"there; this program puts {ZENTORCH} beside it where it is wanted"
            )
        return found

    def checkpoints(self, model: Model, source: Path) -> Path:
        """The folder with a model's checkpoints, written once. Raises ServeError."""
        sizes = "-".join(map(str, model.sizes)) if model.sizes else "real"
        folder = CACHE / "serve" / f"{model.key}-{sizes}-g{model.group}"
        if not folder.exists():
            if not model.sizes and not source.exists():
                raise ServeError(f"{source} is missing: tools/fetch_model.sh fetches it")
            print(f"serve.py: writing {folder}", file=sys.stderr, flush=True)
            self.run("checkpoints", model.key, str(folder), str(source.absolute()))
        return folder

    def zentorch(self, engines: Sequence[Engine], skip: Callable[[Engine, str], None]) -> Path | None:
        """The folder with zentorch, installed once; None if no engine needs it, or vLLM cannot use it (skips them)."""
        wanted = [engine for engine in engines if engine.zentorch]
        if not wanted:
            return None
        folder = CACHE / "serve" / ZENTORCH.replace("==", "-")
        try:
            if not folder.exists():
                self._install_zentorch(folder)
            reason: str = json.loads(self.run("about", "zentorch", zentorch=folder).splitlines()[-1])
        except ServeError as error:
            reason = str(error)
        if not reason:
            return folder
        for engine in wanted:
            skip(engine, reason)
        return None

    def _install_zentorch(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            print(f"serve.py: installing {ZENTORCH} into {folder}", file=sys.stderr, flush=True)
            pip: list[str | Path] = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command = [*pip, "--no-deps", "--target", f"{partial}/zentorch", ZENTORCH, *ZENTORCH_NEEDS]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                raise ServeError(f"pip install {ZENTORCH}: {' '.join(ended.stderr.split())[-300:]}")
            Path(partial, "zentorch").rename(folder)


def _in_path(folder: Path | None) -> dict[str, str]:
    """PYTHONPATH, with a folder before what it has."""
    if folder is None:
        return {}
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
