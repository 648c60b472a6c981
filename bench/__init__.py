# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that measure zenwoq (zenwoq-bench in C++, bench.peers, bench.llm), and bench.report, which reads results."""
