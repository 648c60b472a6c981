# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the JSON of bench/peers.py as Markdown: times and ratios for each weight, what each peer is, what was not
# measured. Used by bench/peers.py and by bench_table.py.
from bench_json import unique
from markdown import print_table

LEAST_BUSY = 0.95


def time_text(row, zenwoq, spread):
    if row is None:
        return ""
    text = f"{row['median_us']:,.0f}" if row["median_us"] >= 100 else f"{row['median_us']:.3g}"
    if zenwoq is not None and row is not zenwoq:
        text += f" ({row['median_us'] / zenwoq['median_us']:.2f}x)"
    return text + (f" [{row['low_us']:.4g}..{row['high_us']:.4g}]" if spread else "")


def print_times(rows, peers, spread):
    """Of one weight: a line for each peer, a column for each M."""
    at = {((row["implementation"], row["mode"]), row["m"]): row for row in rows}
    ms = sorted({m for _, m in at})
    lines = []
    zenwoq = next((peer for peer in peers if peer[0] == "zenwoq"), None)
    for peer in peers:
        cells = [time_text(at.get((peer, m)), at.get((zenwoq, m)), spread) for m in ms]
        if any(cells):
            lines.append([", ".join(peer)] + cells)
    print_table(["microseconds a layer (zenwoq = 1)"] + [f"M = {m}" for m in ms], lines)


def print_peers(data, spread=False):
    rows = data["rows"]
    threads = f"{data['threads']} thread{'s' if data['threads'] > 1 else ''}"
    print(f"{data['cpu']}, {data['uarch']}, {data['date'][:10]}, {threads}, zenwoq {data['zenwoq_version']}, "
          f"tier {data['tier']}.\n")
    peers = unique((row["implementation"], row["mode"]) for row in rows)
    peers.sort(key=lambda peer: peer[0] != "zenwoq")
    for shape, group in unique((tuple(row["shape"]), row["group"]) for row in rows):
        print(f"### N x K = {shape[0]} x {shape[1]}, g{group}: time against peers\n")
        print_times([row for row in rows if (tuple(row["shape"]), row["group"]) == (shape, group)], peers, spread)
    lines = []
    for peer in data["peers"]:
        own = [row for row in rows if (row["implementation"], row["mode"]) == (peer["implementation"], peer["mode"])]
        if not own:
            continue
        bytes_ = next((row["bytes_per_weight"] for row in own if row["bytes_per_weight"]), None)
        call = f"{peer['call_us']:.1f}" if peer["call_us"] is not None else "?"
        lines.append([f"{peer['implementation']}, {peer['mode']}", peer["version"],
                      f"{peer['activations']}, {peer['output']}", f"{max(row['relative_error'] for row in own):.1e}",
                      f"{bytes_:.2f}" if bytes_ else "?", call])
    print_table(["peer", "version", "activations, output", "relative error, worst M", "bytes a weight in memory",
                 "us of a call"], lines)
    disturbed = [row for row in rows if row["threads"] == 1 and row["busy"] < LEAST_BUSY]
    if disturbed:
        print(f"**{len(disturbed)} of {len(rows)} rows shared their CPU with other programs**: the thread ran for less "
              "than 95 % of the time.\n")
    for entry in data["not_measured"]:
        where = f" at N x K = {entry['shape'][0]} x {entry['shape'][1]}, M = {entry['m']}" if entry["shape"] else ""
        print(f"Not measured: {entry['implementation']}, {entry['mode']}{where}: {entry['reason']}")
