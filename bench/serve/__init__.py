# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/serve.py.

The program's own process needs only the standard library: engines, options, environment, server, processes. What needs
vLLM or torch runs in processes of vLLM's environment: the servers, and the programs about, checkpoints and client.
"""
