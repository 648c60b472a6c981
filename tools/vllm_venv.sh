#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Makes the environment that the tests of zenwoq.vllm run in (python/requirements-vllm.txt; 2.3 GiB, some four minutes) and
# prints its folder. It is another than tools/python_venv.sh's, since vLLM wants an older transformers.
#   tools/vllm_venv.sh --install      builds the package with that environment's tools and installs the wheel in this one
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$("$root/tools/python_venv.sh" --exactly "$root/python/requirements-vllm.txt")

if [ "${1:-}" = --install ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$root/tools/python_venv.sh" --wheel "$work" >/dev/null
  "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps "$work"/zenwoq-*.whl >&2
fi
echo "$venv"
