#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks that the C program in the README is examples/hello.c, which the tests compile and run.
set -eu
cd "$(dirname "$0")/.."
shown=$(sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d')
compiled=$(sed '1,2d' examples/hello.c)  # without the licence
[ "$shown" = "$compiled" ] ||
  { echo "the README's program differs from examples/hello.c"; exit 1; }
