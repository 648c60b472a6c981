# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/peers.py.

The program's own process needs only the standard library: catalogue, options, install, process, schedule, results. Each
peer runs in a separate process (worker, timer), which needs numpy (operands) and the peer's library (*_peer).
"""
