# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The virtual environment for the peers, which the rest of the system does not see and which stays for the next run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.peers.catalogue import OPERANDS, Entry


class InstallError(Exception):
    """Why something is not there, in one line."""


def default_folder() -> Path:
    """The environment's folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "zenwoq" / "peers-venv"


def installed_versions(python: Path, requirements: Sequence[str]) -> dict[str, str]:
    """The versions, by name, of those of these packages that are installed, without a build's suffix ("+cpu")."""
    names = [requirement.split("==")[0] for requirement in requirements]
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}\n"
        "print(json.dumps({n: found[n].split('+')[0] for n in sys.argv[1:] if n in found}))"
    )
    output = subprocess.run([python, "-c", program, *names], check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(output)
    return versions


class Environment:
    """A virtual environment, made if it is not there."""

    def __init__(self, folder: Path):
        """Raises InstallError."""
        self.python = folder / "bin" / "python"
        self._constraints = folder / "peers-constraints.txt"
        if self._works():
            return
        command: list[str | Path] = [sys.executable, "-m", "venv", "--clear", folder]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            text = " ".join((made.stdout + made.stderr).split())
            raise InstallError(f"{sys.executable} -m venv {folder}: {text[-300:]} (Debian: install python3-venv)")

    def _works(self) -> bool:
        """Whether it is there, with pip. Its Python may be gone, or an earlier run may have been cut off."""
        try:
            answer = subprocess.run([self.python, "-m", "pip", "--version"], capture_output=True, check=False)
            return answer.returncode == 0
        except OSError:
            return False

    def install(self, requirements: Sequence[str], all_requirements: Iterable[str]) -> None:
        """Runs pip install, unless these exact versions are there.

        Args:
            requirements: packages with their exact versions.
            all_requirements: the versions that all packages must have, whatever is installed.

        Raises:
            InstallError: with pip's message.
        """
        there = installed_versions(self.python, requirements)
        if all(there.get(name) == version for name, version in (r.split("==") for r in requirements)):
            return
        print(f"peers.py: installing {' '.join(requirements)}", file=sys.stderr, flush=True)
        self._constraints.write_text("".join(f"{requirement}\n" for requirement in all_requirements))
        pip: list[str | Path] = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--constraint", self._constraints, *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            errors = [line for line in lines if line.startswith("ERROR:")]
            raise InstallError(f"pip install {' '.join(requirements)}: {(errors or lines)[-1]}")


def install_entries(
    entries: Sequence[Entry], known: Sequence[Entry], folder: Path, skip: Callable[[Entry, str], None]
) -> list[tuple[Entry, Path]]:
    """Installs what these peers need; returns each that is there, with its Python.

    Args:
        entries: the peers.
        known: all peers, whose versions pip keeps to.
        folder: the environment's.
        skip: called with each of the others, and why it is not there.
    """
    try:
        environment = Environment(folder.absolute())
    except InstallError as error:
        for entry in entries:
            skip(entry, str(error))
        return []
    pins = OPERANDS + tuple(pin for entry in known for pin in entry.requirements)
    there: list[tuple[Entry, Path]] = []
    reasons: dict[tuple[str, ...], str] = {}  # requirements -> why they are not there, or empty
    for entry in entries:
        if entry.requirements not in reasons:
            try:
                environment.install(OPERANDS + entry.requirements, dict.fromkeys(pins))
                reasons[entry.requirements] = ""
            except InstallError as error:
                reasons[entry.requirements] = str(error)
        if reasons[entry.requirements]:
            skip(entry, reasons[entry.requirements])
        else:
            there.append((entry, environment.python))
    return there


def pythons_of(
    entries: Sequence[Entry],
    known: Sequence[Entry],
    python: str | None,
    folder: Path,
    skip: Callable[[Entry, str], None],
) -> list[tuple[Entry, str | Path]]:
    """Each peer that is there with the Python that runs it: `python`, or where that is None that of install_entries."""
    if python:
        return [(entry, python) for entry in entries]
    return list(install_entries(entries, known, folder, skip))
