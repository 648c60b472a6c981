#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Draws the JSON of zenwoq-bench (percent of the roof over M) and of bench/peers.py (time against peers) into PNG files.
import argparse
import math
import pathlib

import bench_json
from bench_json import unique

try:
    import matplotlib
except ImportError as error:
    bench_json.fail(f"{error}: install python3-matplotlib (Debian) or matplotlib (PyPI)")
matplotlib.use("Agg")  # no display is needed
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator  # noqa: E402

MARKERS = "osD^vP*Xh<>"
MAX_COLUMNS = 3


def panels(count, title):
    """A figure with so many panels and room for a legend below them."""
    columns = min(count, 2 if count in (2, 4) else MAX_COLUMNS)
    lines = math.ceil(count / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(max(6.4, 5.0 * columns), 3.6 * lines + 1.1), squeeze=False, sharey=True,
                                layout="constrained")
    figure.suptitle(title)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes.flat[:count]


def rows_axis(axis, rows):
    """M on a log scale: a mark at every measured M, a number where there is room for one."""
    axis.set_xscale("log", base=2)
    numbers, last = [], 0.0
    for m in sorted(set(rows)):
        if not numbers or math.log2(m) - last >= 0.4:
            numbers.append(m)
            last = math.log2(m)
    axis.xaxis.set_major_locator(FixedLocator(numbers))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("M (rows of activations)")
    axis.grid(True, which="major", alpha=0.3)


def finish(figure, axes, labels, path):
    """One legend for all panels, with the labels in this order."""
    found = {}
    for axis in axes:
        found.update({label: handle for handle, label in zip(*axis.get_legend_handles_labels())})
    handles = {label: found[label] for label in labels if label in found}
    width = 0.7 + 0.075 * max(len(label) for label in handles)  # inches of an entry
    columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
    lines = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, lines - 2))  # panels() left room for two
    below = (0.19 * lines + 0.2) / figure.get_figheight()
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=columns, frameon=False, fontsize="small")
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below), w_pad=0.08, h_pad=0.08)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(path)


def plot_roofs(reports, path):
    rows = {case: row for case, row in bench_json.one_machine(reports).items() if row.roof_percent}
    if not rows:
        bench_json.fail("no row with a roof: nothing to draw")
    weights = unique((case.n, case.k, case.threads) for case in rows)
    formats = unique(bench_json.format_name(case) for case in sorted(rows, key=bench_json.format_order))
    figure, axes = panels(len(weights), f"zenwoq: percent of the roof, weights cold\n{reports[-1].cpu}, {bench_json.dates(reports)}")
    for axis, (n, k, threads) in zip(axes, weights):
        shown = [case for case in rows if (case.n, case.k, case.threads) == (n, k, threads)]
        for i, wanted in enumerate(formats):
            line = sorted((case for case in shown if bench_json.format_name(case) == wanted), key=lambda case: case.m)
            if not line:
                continue
            m = [case.m for case in line]
            figures = [rows[case].roof_percent for case in line]
            color = f"C{i % 10}"
            axis.plot(m, [f.median for f in figures], color=color, marker=MARKERS[i % len(MARKERS)], markersize=4, linewidth=1.4,
                      label=wanted)
            axis.vlines(m, [f.low for f in figures], [f.high for f in figures], color=color, alpha=0.5, linewidth=3)
        rows_axis(axis, [case.m for case in shown])
        axis.axhline(100, color="black", linewidth=0.8)
        axis.set_title(f"N x K = {n} x {k}, {threads} thread{'s' if threads > 1 else ''}", fontsize="medium")
    # Half of the roof is far enough down, unless something is there.
    bottom = min(50, *(row.roof_percent.low // 10 * 10 for row in rows.values()), 50)
    top = max(105, *(row.roof_percent.high + 5 for row in rows.values()), 105)
    for axis in axes:
        axis.set_ylim(bottom, top)
        axis.yaxis.set_major_locator(FixedLocator(range(0, 201, 10)))
    for axis in figure.axes:
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("percent of the roof")
    finish(figure, axes, formats, path)


def plot_peers(files, path):
    """files: (path, data) of bench/peers.py."""
    try:
        machines = {", ".join(data[key] for key in ("cpu", "uarch") if key in data) for _, data in files}
        if len(machines) > 1:
            bench_json.fail(f"files of several CPUs: {'; '.join(sorted(machines))}")
        days = sorted({str(data["date"])[:10] for _, data in files})
        times = {}  # ((n, k), group, threads) -> (implementation, mode) -> m -> median time
        for _, data in files:
            for row in data["rows"]:
                panel = (tuple(row["shape"]), row["group"], row["threads"])
                times.setdefault(panel, {}).setdefault((row["implementation"], row["mode"]), {})[row["m"]] = row["median_us"]
    except (KeyError, TypeError) as error:
        bench_json.fail(f"{files[0][0]}: not the JSON of bench/peers.py: {type(error).__name__} {error}")
    times = {panel: by_peer for panel, by_peer in times.items() if any(name == "zenwoq" for name, _ in by_peer)}
    if not times:
        bench_json.fail("no zenwoq among the peers: nothing to compare with")
    peers = unique(peer for by_peer in times.values() for peer in by_peer if peer[0] != "zenwoq")
    title = f"Time of peers, zenwoq = 1 (higher: slower than zenwoq)\n{machines.pop()}, {' to '.join(unique((days[0], days[-1])))}"
    figure, axes = panels(len(times), title)
    for axis, ((shape, group, threads), by_peer) in zip(axes, times.items()):
        ours = next(line for (name, _), line in by_peer.items() if name == "zenwoq")
        for i, peer in enumerate(peers):
            line = {m: us for m, us in sorted(by_peer.get(peer, {}).items()) if m in ours and us}
            if not line:
                continue
            # Another arithmetic: less exact, and up to twice the peak.
            other = "int8" in peer[1]
            axis.plot(list(line), [us / ours[m] for m, us in line.items()], color=f"C{i % 10}", marker=MARKERS[i % len(MARKERS)],
                      markersize=4, linewidth=1.4, linestyle="--" if other else "-", label=", ".join(peer))
        rows_axis(axis, list(ours))
        axis.axhline(1, color="black", linewidth=1.5, label="zenwoq")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axis.set_title(f"N x K = {shape[0]} x {shape[1]}, {f'g{group}' if group else 'per channel'}, "
                       f"{threads} thread{'s' if threads > 1 else ''}", fontsize="medium")
    for axis in figure.axes:
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel("time / time of zenwoq")
    finish(figure, axes, ["zenwoq"] + [", ".join(peer) for peer in peers], path)


def main():
    parser = argparse.ArgumentParser(
        description="Draws percent of the roof over M from the JSON of zenwoq-bench, medians with the middle half of the repetitions. "
        "With a JSON of bench/peers.py also time against peers, into a second picture whose name ends in -peers.")
    parser.add_argument("files", metavar="FILE.json", nargs="+",
                        help="of one CPU; rows of a later file replace those of an earlier one")
    parser.add_argument("--out", required=True, metavar="PNG", type=pathlib.Path)
    arguments = parser.parse_args()
    files = [(path, bench_json.read_json(path)) for path in arguments.files]
    peers = [(path, data) for path, data in files if bench_json.is_peers(data)]
    reports = [bench_json.as_report(path, data) for path, data in files if not bench_json.is_peers(data)]
    if reports:
        plot_roofs(reports, arguments.out)
    if peers:
        plot_peers(peers, arguments.out.with_name(f"{arguments.out.stem}-peers{arguments.out.suffix}"))


if __name__ == "__main__":
    main()
