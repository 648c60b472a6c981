# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Draws percent of the roof over M (zenwoq-bench) and time against peers (bench/peers.py) into PNG files."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.figures import count, unique
from bench.report.linear import Case, Report, Row, dates, one_machine
from bench.report.peers import OURS, Peer, PeersReport
from bench.report.run import ReadError, fail, load

try:
    import matplotlib as mpl
except ImportError as missing:
    fail(f"{missing}: install python3-matplotlib (Debian) or matplotlib (PyPI)")
mpl.use("Agg")  # no display is needed
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*Xh<>"
MAX_COLUMNS = 3


def panels(amount: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `amount` panels and room for a legend below them."""
    columns = min(amount, 2 if amount in (2, 4) else MAX_COLUMNS)
    lines = math.ceil(amount / columns)
    size = (max(6.4, 5.0 * columns), 3.6 * lines + 1.1)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    figure.suptitle(title)
    for axis in axes.flat[amount:]:
        axis.set_visible(False)
    return figure, axes.flat[:amount]


def rows_axis(axis: Axes, rows: Iterable[int]) -> None:
    """Shows M on a log scale, with a mark at every measured M and a number where there is room for one."""
    axis.set_xscale("log", base=2)
    numbers: list[int] = []
    last = 0.0
    for m in sorted(set(rows)):
        if not numbers or math.log2(m) - last >= 0.4:
            numbers.append(m)
            last = math.log2(m)
    axis.xaxis.set_major_locator(FixedLocator(numbers))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("M (rows of activations)")
    axis.grid(True, which="major", alpha=0.3)


def finish(figure: Figure, labels: Sequence[str], what: str, path: Path) -> None:
    """Saves the picture: `what` beside each line of panels, and one legend for all with the labels in this order."""
    found = {}
    for axis in figure.axes:
        handles, names = axis.get_legend_handles_labels()
        found.update(dict(zip(names, handles, strict=True)))
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(what)
    handles = {label: found[label] for label in labels if label in found}
    width = 0.7 + 0.075 * max(len(label) for label in handles)  # inches per entry
    columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
    lines = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, lines - 2))  # panels() left room for two
    below = (0.19 * lines + 0.2) / figure.get_figheight()
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=columns, frameon=False, fontsize="small")
    figure.get_layout_engine().set(rect=(0, below, 1, 1 - below), w_pad=0.08, h_pad=0.08)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(path)


def look(i: int) -> dict[str, object]:
    """The look of the i-th line."""
    return {"color": f"C{i % 10}", "marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.4}


def plot_roofs(reports: Sequence[Report], path: Path) -> None:
    """Draws a panel for each weight, with a line for each format. Raises ReadError."""
    rows = {case: row for case, row in one_machine(reports).items() if row.roof_percent}
    if not rows:
        raise ReadError("no row with a roof: nothing to draw")
    weights = unique((case.n, case.k, case.threads) for case in rows)
    formats = unique(case.format for case in sorted(rows, key=lambda case: case.format_order))
    title = f"zenwoq: percent of the roof, weights cold\n{reports[-1].cpu}, {dates(reports)}"
    figure, axes = panels(len(weights), title)
    for axis, weight in zip(axes, weights, strict=True):
        shown = {case: row for case, row in rows.items() if (case.n, case.k, case.threads) == weight}
        draw_roofs(axis, shown, formats)
        n, k, threads = weight
        axis.set_title(f"N x K = {n} x {k}, {count(threads, 'thread')}", fontsize="medium")
    figures = [row.roof_percent for row in rows.values() if row.roof_percent]
    # Half of the roof is far enough down, unless something is there.
    bottom = min(50, *(figure.low // 10 * 10 for figure in figures), 50)
    top = max(105, *(figure.high + 5 for figure in figures), 105)
    for axis in axes:
        axis.set_ylim(bottom, top)
        axis.yaxis.set_major_locator(FixedLocator(range(0, 201, 10)))
    finish(figure, formats, "percent of the roof", path)


def draw_roofs(axis: Axes, rows: dict[Case, Row], formats: Sequence[str]) -> None:
    """Draws the lines of one weight: medians, with the middle halves as bars."""
    for i, wanted in enumerate(formats):
        line = sorted((case for case in rows if case.format == wanted), key=lambda case: case.m)
        if not line:
            continue
        ms = [case.m for case in line]
        figures = [figure for case in line if (figure := rows[case].roof_percent)]
        axis.plot(ms, [f.median for f in figures], label=wanted, **look(i))
        axis.vlines(ms, [f.low for f in figures], [f.high for f in figures], color=f"C{i % 10}", alpha=0.5, linewidth=3)
    rows_axis(axis, [case.m for case in rows])
    axis.axhline(100, color="black", linewidth=0.8)


def plot_peers(reports: Sequence[PeersReport], path: Path) -> None:
    """Draws a panel for each weight, with a line for each peer. Raises ReadError."""
    machines = sorted({report.cpu for report in reports})
    if len(machines) > 1:
        raise ReadError(f"files of several CPUs or tiers: {'; '.join(machines)}")
    days = sorted({report.date for report in reports})
    times: dict[tuple[tuple[int, int], int, int], dict[Peer, dict[int, float]]] = {}
    for report in reports:
        for row in report.rows:
            by_peer = times.setdefault((row.shape, row.group, row.threads), {})
            by_peer.setdefault(row.peer, {})[row.m] = row.time_us.median
    times = {panel: by_peer for panel, by_peer in times.items() if any(name == OURS for name, _ in by_peer)}
    if not times:
        raise ReadError("no zenwoq among the peers: nothing to compare with")
    peers = unique(peer for by_peer in times.values() for peer in by_peer if peer[0] != OURS)
    when = f"{machines[0]}, {' to '.join(unique((days[0], days[-1])))}"
    figure, axes = panels(len(times), f"Time of peers, zenwoq = 1 (higher: slower than zenwoq)\n{when}")
    for axis, ((shape, group, threads), by_peer) in zip(axes, times.items(), strict=True):
        draw_peers(axis, by_peer, peers)
        format_ = f"g{group}" if group else "per channel"
        title = f"N x K = {shape[0]} x {shape[1]}, {format_}, {count(threads, 'thread')}"
        axis.set_title(title, fontsize="medium")
    finish(figure, [OURS, *(", ".join(peer) for peer in peers)], "time / time of zenwoq", path)


def draw_peers(axis: Axes, by_peer: dict[Peer, dict[int, float]], peers: Sequence[Peer]) -> None:
    """Draws the lines of one weight: ratios of medians."""
    ours = next(line for (name, _), line in by_peer.items() if name == OURS)
    for i, peer in enumerate(peers):
        line = {m: us for m, us in sorted(by_peer.get(peer, {}).items()) if m in ours and us}
        if not line:
            continue
        # A different arithmetic: less exact, and up to twice the peak.
        style = "--" if "int8" in peer[1] else "-"
        ratios = [us / ours[m] for m, us in line.items()]
        axis.plot(list(line), ratios, linestyle=style, label=", ".join(peer), **look(i))
    rows_axis(axis, list(ours))
    axis.axhline(1, color="black", linewidth=1.5, label=OURS)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))


def main() -> None:
    """Draws one or two pictures."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench.report.plot",
        description="Draws percent of the roof over M from results of zenwoq-bench, medians with the middle half of "
        "the repetitions. With one of bench/peers.py also time against peers, into a second picture whose name ends in "
        "-peers.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a program's JSON or a stored CSV; of one CPU; rows of a later file replace those of an earlier one",
    )
    parser.add_argument("--out", required=True, metavar="PNG", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    try:
        runs = [load(path) for path in arguments.files]
        reports = [Report.of(run) for run in runs if run.kind != "peers"]
        peers = [PeersReport.of(run) for run in runs if run.kind == "peers"]
        if reports:
            plot_roofs(reports, out)
        if peers:
            plot_peers(peers, out.with_name(f"{out.stem}-peers{out.suffix}"))
    except ReadError as error:
        fail(error)


if __name__ == "__main__":
    main()
