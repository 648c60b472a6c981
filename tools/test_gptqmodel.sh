#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of quantizers' linears with the real gptqmodel, by which transformers loads GPTQ and AWQ models. It is
# built from source and needs much, so its environment is one of its own.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
builder=$("$root/tools/python_venv.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$builder/bin:$PATH "$builder/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation \
  --config-settings=build-dir="$root/build-python" --wheel-dir="$work" "$root"

venv=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq/python-venv/gptqmodel-7.7.0
[ -f "$venv/pyvenv.cfg" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install --requirement "$root/python/requirements.txt" setuptools wheel
pip install --no-build-isolation GPTQModel==7.7.0 optimum==2.3.0
pip install --force-reinstall --no-deps "$work"/zenwoq-*.whl
cd "$root"
PATH=$venv/bin:$PATH "$venv/bin/python" -m pytest --timeout=600 python/tests/test_quantizers.py
