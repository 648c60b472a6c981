# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Prints results as Markdown: percent of the roof by M and group size for each weight, how threads scale, other rows.

Results of bench/peers.py become times against peers, those of bench/llm.py times of whole models, those of
bench/serve.py figures of servers.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence

from bench.report import markdown
from bench.report.figures import count, unique
from bench.report.linear import Case, Report, Row, dates, one_machine
from bench.report.llm import print_llm
from bench.report.peers import LEAST_BUSY, PeersReport, print_peers
from bench.report.run import ReadError, Run, fail, load, view
from bench.report.serve import print_serve


def roof_text(row: Row | None, spread: bool) -> str:
    """The text of a cell."""
    if row is None:
        return ""
    if row.roof_percent is None:
        return "no roof"
    figure = row.roof_percent
    return f"{figure.median:.1f}" + (f" ({figure.low:.0f}-{figure.high:.0f})" if spread else "")


def print_roofs(rows: Mapping[Case, Row], weight: tuple[int, int, int], spread: bool) -> None:
    """A weight and a number of threads: (N, K, threads)."""
    n, k, threads = weight
    cases = sorted((case for case in rows if (case.n, case.k, case.threads) == weight), key=lambda c: c.format_order)
    columns = unique(case.format for case in cases)
    at = {(case.m, case.format): rows[case] for case in cases}
    print(f"### N x K = {n} x {k}, {count(threads, 'thread')}: percent of the roof\n")
    ms = sorted({case.m for case in cases})
    lines = [[str(m), *(roof_text(at.get((m, column)), spread) for column in columns)] for m in ms]
    firsts = [next(rows[case] for case in rows if case in cases and case.format == column) for column in columns]
    kept = [row.counter("bytes_per_weight") for row in firsts]
    lines.append(["bytes kept per weight", *(f"{bytes_:.3f}" if bytes_ else "" for bytes_ in kept)])
    print(markdown.table(["M", *columns], lines))


def print_scaling(rows: Mapping[Case, Row]) -> None:
    """Prints the rows of several threads whose case was measured on one thread too."""
    lines = []
    for case, row in rows.items():
        alone = rows.get(case._replace(threads=1))
        if case.threads == 1 or alone is None:
            continue
        times = f"{alone.time_us.median / row.time_us.median:.2f}"
        weight = f"{case.n} x {case.k}"
        lines.append([weight, case.format, str(case.m), str(case.threads), times, roof_text(row, False)])
    if lines:
        print("### Threads: times as fast as one, and percent of the roof of all threads\n")
        print(markdown.table(["N x K", "format", "M", "threads", "times", "percent of the roof"], lines))


def time_text(us: float) -> str:
    """A time in the unit that fits."""
    for unit, scale in (("ns", 1e-3), ("us", 1.0)):
        if us < 1000 * scale:
            return f"{us / scale:.3g} {unit}"
    return f"{us / 1e3:.4g} ms"


def print_others(reports: Sequence[Report]) -> None:
    """Prints the rows that are not linear layers."""
    rows: dict[str, Row] = {}
    for report in reports:
        rows.update(report.rows)
    lines = []
    for row in rows.values():
        if row.case:
            continue
        counters = {key: row.counter(key) for key in ("GB/s", "median_us", "max_us", "first_us")}
        shown = ", ".join(f"{key} {value:.4g}" for key, value in counters.items() if value is not None)
        figure = row.time_us
        lines.append([row.name, time_text(figure.median), f"{time_text(figure.low)} - {time_text(figure.high)}", shown])
    if lines:
        print("### Everything else\n")
        print(markdown.table(["row", "median", "middle half", "counters"], lines))


def print_reports(reports: Sequence[Report], spread: bool) -> None:
    """Prints all tables of zenwoq-bench."""
    rows = one_machine(reports)
    context = reports[-1].context
    head = f"{reports[-1].cpu}, {dates(reports)}, zenwoq {context['zenwoq_version']}."
    print(head)
    for threads in unique(case.threads for case in rows):
        keys = ("read_gb_per_s", "read_loop", "peak_gflop_per_s")
        read, loop, peak = (context.get(f"{key}_t{threads}", "?") for key in keys)
        print(f"Roof of {count(threads, 'thread')} at the start: {read} GB/s ({loop}), {peak} GFLOP/s.")
    if int(context["cold_bytes"]) < 2 * int(context["l3_bytes"].split()[0]):
        print("**The weights were not cold**: fewer bytes of them than twice the L3.")
    print()
    for weight in unique((case.n, case.k, case.threads) for case in rows):
        print_roofs(rows, weight, spread)
    alone = [row for case, row in rows.items() if case.threads == 1]
    disturbed = [row for row in alone if row.busy < LEAST_BUSY]
    if disturbed:
        print(
            f"**{len(disturbed)} of {len(alone)} linear rows of one thread shared their CPU with other programs**: the "
            "thread ran for less than 95 % of the time.\n"
        )
    print_scaling(rows)
    print_others(reports)
    for report in reports:
        for name, message in report.errors.items():
            print(f"Not measured: {name}: {message}")


def print_runs(runs: Sequence[Run], spread: bool) -> None:
    """Prints the runs of zenwoq-bench together, then each of the others. Raises ReadError."""
    reports = [Report.of(run) for run in runs if run.kind == "zenwoq-bench"]
    if reports:
        print_reports(reports, spread)
    for run in runs:
        if run.kind == "peers":
            print_peers(PeersReport.of(run), spread)
        elif run.kind == "llm":
            view(run, "llm", print_llm)
        elif run.kind == "serve":
            view(run, "serve", functools.partial(print_serve, spread=spread))


def main() -> None:
    """Prints the tables of all files."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench.report.table",
        description="Prints results of zenwoq-bench, bench/peers.py, bench/llm.py and bench/serve.py as Markdown "
        "tables. Medians of repetitions.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a program's JSON or a stored CSV; those of zenwoq-bench must be of one CPU, and rows of a later file "
        "replace those of an earlier one",
    )
    parser.add_argument("--spread", action="store_true", help="show where the middle half of the repetitions lies")
    arguments = parser.parse_args()
    try:
        print_runs([load(path) for path in arguments.files], arguments.spread)
    except ReadError as error:
        fail(error)


if __name__ == "__main__":
    main()
