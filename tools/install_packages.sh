#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Installs those Debian packages that building and testing need and that are missing, and no others:
#   tools/install_packages.sh [EXTRA-PACKAGE...]
#   tools/install_packages.sh --print-meson     installs nothing, prints the meson to build with
set -euo pipefail

packages=(
  gcc g++ meson ninja-build pkg-config python3
  libfmt-dev libxbyak-dev                         # the library
  nlohmann-json3-dev libxxhash-dev                # the library of formats
  libcli11-dev libzydis-dev                       # the tool
  libbenchmark-dev libgtest-dev libgmock-dev      # bench and tests
)

if [ "${1:-}" = --print-meson ]; then
  # Debian's if it is there: a meson that comes first in PATH may be of another version than the build folder's.
  if [ -x /usr/bin/meson ]; then echo /usr/bin/meson; else command -v meson; fi
  exit
fi

missing=()
for package in "${packages[@]}" "$@"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "install_packages.sh: neither root nor sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "== installing ${missing[*]}"
# stdout belongs to the caller
"${as_root[@]}" apt-get update --quiet >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}" >&2
