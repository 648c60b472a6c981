#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# A shared library exports what a list says, no more and no less, each as of one version: exported_symbols.sh LIBRARY LIST VERSION. To
# accept a change of the ABI:
#   nm -D --defined-only build/src/libzenwoq.so | sed -n 's/.* T \([^@]*\).*/\1/p' | sort > tests/exported_symbols.txt
set -eu
nm -D --defined-only "$1" | sed -n 's/.* [A-Z] \([^ ]*\)$/\1/p' | sed "s/@@$3\$//" | grep -v "^$3\$" | sort | diff -u "$2" - ||
  { echo "the exported symbols differ from $2"; exit 1; }
