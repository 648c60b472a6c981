#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the program in bench/serve from any folder; ``python3 -m bench.serve`` does it from the repository's root."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    runpy.run_module("bench.serve", run_name="__main__", alter_sys=True)
