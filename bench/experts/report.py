# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a run: for each block, number of threads and kind of routing, all peers at all numbers of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.experts.catalogue import BASE
from bench.report.figures import count, unique
from bench.report.markdown import table

HEAD = ("tokens", "implementation", "mode", "ms", "middle half", "tokens/s", f"time / {BASE}", "relative error")


def tables(data: dict[str, Any]) -> str:
    """Markdown of the JSON that bench/experts writes."""
    peers = ", ".join(f"{peer['key']} {peer['version']}{_variant(peer)}" for peer in data["peers"])
    parts = [f"{data['cpu']} ({data['uarch']}), tier {data['tier']}, {data['date']}\n{peers}\n"]
    for block, threads, hot in unique((row["block"], row["threads"], row["hot"]) for row in data["rows"]):
        rows = [row for row in data["rows"] if (row["block"], row["threads"], row["hot"]) == (block, threads, hot)]
        kind = "all tokens choose the same experts" if hot else "random routing"
        parts.append(f"### {block}, {count(threads, 'thread')}, {kind}\n\n{table(HEAD, [_line(row) for row in rows])}")
    for missing in data["not_measured"]:
        parts.append(f"Not measured: {missing['key']}{missing['where']}: {missing['reason']}")
    return "\n".join(parts)


def _variant(peer: dict[str, Any]) -> str:
    return f" ({peer['variant']}, {peer['weights']})" if "variant" in peer else ""


def _line(row: dict[str, Any]) -> Sequence[str]:
    return (
        str(row["tokens"]),
        row["implementation"],
        row["mode"],
        f"{row['median_ms']:.3g}",
        f"{row['low_ms']:.3g} to {row['high_ms']:.3g}",
        f"{row['tokens_per_s']:.4g}",
        f"{row['ratio']:.2f}" if row["ratio"] else "",
        f"{row['relative_error']:.1e}",
    )
