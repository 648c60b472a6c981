#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# From a fresh Debian 12 to a checked model: installs what is missing, builds into build/, fetches SmolLM2-135M-Instruct
# (4-bit, 98 MB, kept in the user's cache folder) and runs `zenwoq check` on it. Running it again is quick and harmless.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<USAGE
usage: tools/quickstart.sh [--offline] [CHECK-OPTION...]
  --offline      check the small model in the tree instead; nothing is downloaded (missing packages still are)
  CHECK-OPTION   handed to zenwoq check, for example --threads 1 or --json
USAGE
}

say() { echo "== $*" >&2; }
fail() { echo "quickstart.sh: $*" >&2; exit 1; }

build() {
  local meson
  meson=$("$root/tools/install_packages.sh" --print-meson)
  if [ ! -f "$root/build/build.ninja" ]; then
    say "configuring build/"
    "$meson" setup "$root/build" "$root" >&2
  fi
  say "building build/tools/zenwoq"
  ninja -C "$root/build" --quiet tools/zenwoq >&2
}

# On a machine that cannot run generated kernels the check is of the reference alone; it must not look like more.
reference_only() {
  local reason
  reason=$("$root/build/tools/zenwoq" info --json |
    python3 -c 'import json, sys; cpu = json.load(sys.stdin)["cpu"]; print(cpu["isa_reason"] if cpu["isa"] == "reference" else "")')
  [ -n "$reason" ] || return 1
  say "WARNING: no generated kernel runs on this machine: $reason"
  say "WARNING: what follows checks the plain C++ reference against an f64 product; it compares no bits of kernels"
}

offline=false
case ${1:-} in
  --offline) offline=true; shift ;;
  --help | -h) usage; exit 0 ;;
esac

"$root/tools/install_packages.sh" >&2
build
if $offline; then model=$root/tests/fixtures/attention.gguf; else model=$("$root/tools/fetch_model.sh"); fi
options=()
if reference_only; then options+=(--allow-reference); fi
say "zenwoq check ${options[*]} $* $model"
exec "$root/build/tools/zenwoq" check "${options[@]}" "$@" "$model"
