#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# The shared library exports what exported_symbols.txt lists, no more and no less, each as of version ZENWOQ_0. To accept a change of the ABI:
#   nm -D --defined-only build/src/libzenwoq.so | sed -n 's/.* T \([^@]*\).*/\1/p' | sort > tests/exported_symbols.txt
set -eu
nm -D --defined-only "$1" | sed -n 's/.* [A-Z] \([^ ]*\)$/\1/p' | sed 's/@@ZENWOQ_0$//' | grep -v '^ZENWOQ_0$' | sort | diff -u "$2" - ||
  { echo "the exported symbols differ from $2"; exit 1; }
