#!/bin/sh
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version that the public header states.
header="$(dirname "$0")/../include/zenwoq/zenwoq.h"
sed -n 's/^#define ZENWOQ_VERSION_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\)$/\2/p' "$header" | paste -s -d . -
