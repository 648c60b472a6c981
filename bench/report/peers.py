# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of bench/peers.py, and their tables: times and ratios for each weight, and what each peer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report import markdown
from bench.report.figures import Spread, count, unique
from bench.report.run import Run, view

LEAST_BUSY = 0.95
OURS = "zenwoq"
Peer = tuple[str, str]  # implementation, mode


@dataclass(frozen=True)
class PeerRow:
    """The results of one peer at one shape and M."""

    peer: Peer
    shape: tuple[int, int]
    group: int
    m: int
    threads: int
    time_us: Spread
    busy: float
    relative_error: float
    bytes_per_weight: float | None
    call_us: float | None
    version: str
    types: str  # of activations and output

    @classmethod
    def read(cls, cells: Mapping[str, str]) -> PeerRow:
        """Reads a row that was measured."""
        n, k, group, m, threads = (int(cells[key]) for key in ("n", "k", "group", "m", "threads"))
        return cls(
            (cells["implementation"], cells["mode"]),
            (n, k),
            group,
            m,
            threads,
            Spread.read(cells, "time_us"),
            float(cells["busy"]),
            float(cells["relative_error"]),
            float(cells["bytes_per_weight"]) if "bytes_per_weight" in cells else None,
            float(cells["call_us"]) if "call_us" in cells else None,
            cells["version"],
            f"{cells['activations']}, {cells['output']}",
        )


class PeersReport:
    """One run of bench/peers.py."""

    def __init__(self, run: Run):
        context = run.context
        self.cpu = f"{context['cpu']}, {context['uarch']}, zenwoq's tier {context['tier']}"
        self.date = context["date"][:10]
        self.threads = int(context["threads"])
        self.zenwoq = f"zenwoq {context['zenwoq_version']}"
        self.rows = [PeerRow.read(cells) for cells in run.rows if "not_measured" not in cells]
        self.errors = [_error_text(cells) for cells in run.rows if "not_measured" in cells]

    @classmethod
    def of(cls, run: Run) -> PeersReport:
        """Makes the report of a run. Raises ReadError if the run is another program's."""
        report = view(run, "peers", cls)
        assert isinstance(report, cls)
        return report


def _error_text(cells: Mapping[str, str]) -> str:
    where = f" at N x K = {cells['n']} x {cells['k']}, M = {cells['m']}" if "n" in cells else ""
    return f"{cells['implementation']}, {cells['mode']}{where}: {cells['not_measured']}"


def _time_text(row: PeerRow | None, ours: PeerRow | None, spread: bool) -> str:
    if row is None:
        return ""
    figure = row.time_us
    text = f"{figure.median:,.0f}" if figure.median >= 100 else f"{figure.median:.3g}"
    if ours is not None and row is not ours:
        text += f" ({figure.median / ours.time_us.median:.2f}x)"
    return text + (f" [{figure.low:.4g}..{figure.high:.4g}]" if spread else "")


def _times(rows: Sequence[PeerRow], peers: Sequence[Peer], spread: bool) -> str:
    """The table of one weight: a line for each peer, a column for each M."""
    at = {(row.peer, row.m): row for row in rows}
    ms = sorted({row.m for row in rows})
    ours = {row.m: row for row in rows if row.peer[0] == OURS}
    lines = []
    for peer in peers:
        cells = [_time_text(at.get((peer, m)), ours.get(m), spread) for m in ms]
        if any(cells):
            lines.append([", ".join(peer), *cells])
    return markdown.table(["microseconds a layer (zenwoq = 1)", *(f"M = {m}" for m in ms)], lines)


def _about(peer: Peer, rows: Sequence[PeerRow]) -> list[str]:
    """The line that says what a peer is."""
    first = rows[0]
    bytes_ = next((row.bytes_per_weight for row in rows if row.bytes_per_weight), None)
    error = f"{max(row.relative_error for row in rows):.1e}"
    call = f"{first.call_us:.1f}" if first.call_us is not None else "?"
    return [", ".join(peer), first.version, first.types, error, f"{bytes_:.2f}" if bytes_ else "?", call]


def print_peers(report: PeersReport, spread: bool = False) -> None:
    """Prints all tables, and what was not measured."""
    print(f"{report.cpu}, {report.date}, {count(report.threads, 'thread')}, {report.zenwoq}.\n")
    peers = unique(row.peer for row in report.rows)
    peers.sort(key=lambda peer: peer[0] != OURS)
    for shape, group in unique((row.shape, row.group) for row in report.rows):
        print(f"### N x K = {shape[0]} x {shape[1]}, g{group}: time against peers\n")
        print(_times([row for row in report.rows if (row.shape, row.group) == (shape, group)], peers, spread))
    head = ["peer", "version", "activations, output", "relative error, worst M", "bytes a weight in memory"]
    lines = [_about(peer, [row for row in report.rows if row.peer == peer]) for peer in peers]
    print(markdown.table([*head, "us of a call"], lines))
    disturbed = [row for row in report.rows if row.threads == 1 and row.busy < LEAST_BUSY]
    if disturbed:
        print(
            f"**{len(disturbed)} of {len(report.rows)} rows shared their CPU with other programs**: the thread ran for "
            "less than 95 % of the time.\n"
        )
    for error in report.errors:
        print(f"Not measured: {error}")
