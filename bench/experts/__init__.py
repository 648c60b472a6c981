# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of ``python3 -m bench.experts``: mixture-of-experts blocks of zenwoq and its peers in one run.

As in bench/peers, whose environment, processes and order of measurements it uses, the program's own process needs only
the standard library (catalogue, report); each peer runs in a separate process (worker), which needs numpy (operands)
and the peer's library (*_peer).
"""
