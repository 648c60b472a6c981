# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the results of zenwoq-bench, bench/peers.py and bench/llm.py: store, table, plot and compare are programs.

They need only the standard library; plot also needs matplotlib. From the repository's root:
``python3 -m bench.report.table FILE...``
"""
