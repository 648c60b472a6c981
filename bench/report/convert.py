# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Converts the JSON of each program to the context and rows of its run: medians and middle halves, as texts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

from bench.report.figures import Spread, number

Cells = dict[str, str]

MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
# What Google Benchmark says about a row besides its counters. "threads" is its own; ours are in the row's name.
BOOKKEEPING = {
    *("family_index", "per_family_instance_index", "repetitions", "repetition_index", "threads", "iterations"),
    *("real_time", "cpu_time", "roof_percent"),
}


def text(value: object) -> str:
    """The text of a cell, in one line."""
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split())


def texts(values: dict[str, Any]) -> Cells:
    """Cells for all values that are there."""
    return {key: text(value) for key, value in values.items() if value not in (None, "")}


def zenwoq_bench(data: Any) -> tuple[Cells, list[Cells]]:
    """A row for each benchmark: time and percent of the roof as spreads, counters as medians."""
    repetitions: dict[str, list[dict[str, Any]]] = {}
    errors: dict[str, str] = {}
    for row in data["benchmarks"]:
        if row.get("error_occurred"):
            errors[row["run_name"]] = row.get("error_message", "") or "an error"
        elif row.get("run_type") == "iteration":
            repetitions.setdefault(row["run_name"], []).append(row)
    rows = [_benchmark(name, of_name) for name, of_name in repetitions.items() if name not in errors]
    rows += [{"name": name, "not_measured": text(message)} for name, message in errors.items()]
    return {key: text(value) for key, value in data["context"].items()}, rows


def _benchmark(name: str, repetitions: list[dict[str, Any]]) -> Cells:
    first = repetitions[0]
    cells = {"name": name, "repetitions": str(len(repetitions))}
    cells |= Spread.of(row["real_time"] * MICROSECONDS[row["time_unit"]] for row in repetitions).cells("time_us")
    if "roof_percent" in first:
        cells |= Spread.of(row["roof_percent"] for row in repetitions).cells("roof_percent")
    # The share of the time in which the calling thread ran: if it is less than 1, others used its CPU.
    cells["busy"] = number(statistics.median(row["cpu_time"] / row["real_time"] for row in repetitions))
    for key, value in first.items():
        if key not in BOOKKEEPING and isinstance(value, (int, float)) and all(key in row for row in repetitions):
            cells[key] = number(statistics.median(row[key] for row in repetitions))
    return cells | texts({"label": first.get("label")})


def peers(data: Any) -> tuple[Cells, list[Cells]]:
    """A row for each peer, shape and M, which also says what the peer is; and one for whatever was not measured."""
    about = {(peer["implementation"], peer["mode"]): peer for peer in data["peers"]}
    rows = []
    for row in data["rows"]:
        peer = about[row["implementation"], row["mode"]]
        cells = _peer_row(row)
        cells |= Spread(row["median_us"], row["low_us"], row["high_us"]).cells("time_us")
        cells |= texts({key: row[key] for key in ("busy", "copies", "relative_error", "bytes_per_weight")})
        cells |= texts({key: peer[key] for key in ("call_us", "version", "activations", "output")})
        rest = {key: value for key, value in peer.items() if value and key not in {*row, *data, *cells, "key"}}
        cells |= texts({"about": ", ".join(f"{key} {value}" for key, value in rest.items()), "notes": row["notes"]})
        rows.append(cells)
    rows += [_peer_row(entry) | {"not_measured": text(entry["reason"])} for entry in data["not_measured"]]
    context = {key: value for key, value in data.items() if key not in ("kind", "peers", "rows", "not_measured")}
    return texts(context), rows


def _peer_row(row: dict[str, Any]) -> Cells:
    n, k = row["shape"] or (None, None)
    values = {"implementation": row["implementation"], "mode": row["mode"], "n": n, "k": k, "m": row["m"]}
    return texts({**values, "group": row.get("group"), "threads": row.get("threads")})


def llm(data: Any) -> tuple[Cells, list[Cells]]:
    """A row for each way to run a model; each list ``all_NAME`` becomes its median NAME and its middle half."""
    rows = [_with_spreads(row) for row in data["rows"]]
    context = texts(
        {key: value for key, value in data.items() if isinstance(value, (str, int, float)) and key != "kind"}
    )
    context["bandwidth_gb_s"] = " to ".join(number(value) for value in data["bandwidth_gb_s"])
    context |= {f"version {name}": version for name, version in data["versions"].items()}
    for i, aim in enumerate(data["aims"]):
        value, limit = number(aim["value"]), number(aim["limit"])
        context[f"aim {i + 1}"] = f"{aim['text']}: {value}, wanted {limit}, {'met' if aim['met'] else 'missed'}"
    context |= {f"missing {i + 1}": text(reason) for i, reason in enumerate(data["missing"])}
    return context, rows


def _with_spreads(row: dict[str, Any]) -> Cells:
    cells: Cells = {}
    for key, value in row.items():
        name = key.removeprefix("all_")
        values = row.get(f"all_{name}")
        if values:
            flat = [each for part in values for each in (part if isinstance(part, list) else [part])]
            cells |= Spread.of(flat).cells(name)
        else:
            cells |= texts({key: value})
    return cells


def serve(data: Any) -> tuple[Cells, list[Cells]]:
    """A row for each engine, model and number of requests, as in llm; and one for whatever was not measured."""
    rows = [_with_spreads(row) for row in data["rows"]]
    for entry in data["not_measured"]:
        names = {key: entry[key] for key in ("model", "key", "implementation", "mode")}
        rows.append(texts({**names, "not_measured": entry["reason"]}))
    about = {key: value for key, value in data.items() if key not in ("kind", "versions", "rows", "not_measured")}
    return texts(about) | {f"version {name}": version for name, version in data["versions"].items()}, rows


KINDS: dict[str, Callable[[Any], tuple[Cells, list[Cells]]]] = {
    "zenwoq-bench": zenwoq_bench,
    "peers": peers,
    "llm": llm,
    "serve": serve,
}
