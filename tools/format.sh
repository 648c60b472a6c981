#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Formats all C++ according to .clang-format:
#   tools/format.sh           in place
#   tools/format.sh --check   changes nothing, shows what would change, non-zero if anything would
# Uses Debian 12's clang-format (14), as other versions break lines elsewhere. The C header is the manual and is laid out
# by hand.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t sources < <(find src jit formats tools bench tests python examples -type f \( -name '*.cpp' -o -name '*.h' \) | sort)
[ ${#sources[@]} -gt 0 ] || { echo "format.sh: no C++ found" >&2; exit 1; }
formatter=$(command -v clang-format-14 || command -v clang-format)
if [ "${1:-}" = --check ]; then
  "$formatter" --dry-run --Werror "${sources[@]}"
else
  "$formatter" -i "${sources[@]}"
fi
