# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# The peers' own virtual environment: nothing of it is seen by the rest of the system, and it stays for the next run.
import json
import os
import pathlib
import subprocess
import sys


class InstallError(Exception):
    """Why something is not there, in one line."""


def default_folder():
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "zenwoq" / "peers-venv"


def installed_versions(python, requirements):
    """Name -> version of what of these is there. A build's own suffix ("+cpu") is no part of the version."""
    names = [requirement.split("==")[0] for requirement in requirements]
    program = ("import importlib.metadata as m, json, sys\n"
               "found = {d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}\n"
               "print(json.dumps({n: found[n].split('+')[0] for n in sys.argv[1:] if n in found}))")
    output = subprocess.run([python, "-c", program, *names], check=True, capture_output=True, text=True).stdout
    return json.loads(output)


class Environment:
    def __init__(self, folder):
        """Makes the folder if it is not there. Raises InstallError."""
        self.python = folder / "bin" / "python"
        self._constraints = folder / "peers-constraints.txt"
        if self._works():
            return
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder], capture_output=True, text=True)
        if made.returncode != 0:
            text = " ".join((made.stdout + made.stderr).split())
            raise InstallError(f"{sys.executable} -m venv {folder}: {text[-300:]} (Debian: install python3-venv)")

    def _works(self):
        """Is it there, with a pip? Its Python may have gone, or an earlier run may have been cut off."""
        try:
            return subprocess.run([self.python, "-m", "pip", "--version"], capture_output=True).returncode == 0
        except OSError:
            return False

    def install(self, requirements, all_requirements):
        """pip install, unless these exact versions are there. all_requirements: pins that no other package may move.
        Raises InstallError."""
        there = installed_versions(self.python, requirements)
        if all(there.get(name) == version for name, version in (r.split("==") for r in requirements)):
            return
        print(f"peers.py: installing {' '.join(requirements)}", file=sys.stderr, flush=True)
        self._constraints.write_text("".join(f"{requirement}\n" for requirement in all_requirements))
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--constraint", self._constraints, *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            errors = [line for line in lines if line.startswith("ERROR:")]
            raise InstallError(f"pip install {' '.join(requirements)}: {(errors or lines)[-1]}")
