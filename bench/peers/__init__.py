# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What bench/peers.py is made of.

The program's own process needs the standard library alone: catalogue, install, process, schedule. Each peer runs in a
process of its own (worker), which needs numpy (operands) and the peer's library (*_peer).
"""
