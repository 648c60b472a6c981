#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs the Python tests with other versions of torch and TorchAO than python/requirements.txt names, on the wheel that was
# built with its headers:
#   tools/test_other_torch.sh 2.14.1 0.18.0
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 TORCH TORCHAO" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -E "s/^torch==.*/torch==$1/; s/^torchao==.*/torchao==$2/" "$root/python/requirements.txt" >"$work/requirements.txt"
"$root/tools/python_venv.sh" --wheel "$work" >/dev/null

venv=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq/python-venv/torch-$1-torchao-$2
[ -f "$venv/pyvenv.cfg" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$work/requirements.txt"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps "$work"/zenwoq-*.whl
cd "$root"
# Leaves out the tests that build the wheel anew, and the benchmark, which tells nothing about torch's versions.
PATH=$venv/bin:$PATH "$venv/bin/python" -m pytest --timeout=600 --ignore=python/tests/test_wheel.py --deselect python/tests/test_examples.py::test_bench
