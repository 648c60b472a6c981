#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the JSON of zenwoq-bench as Markdown: percent of the roof by M and group size for each weight, how two threads
# scale, and all other rows. And that of bench/peers.py: time against peers.
import argparse

import bench_json
import peers_table
from bench_json import unique
from markdown import print_table


def roof_text(row, spread):
    if row is None:
        return ""
    if row.roof_percent is None:
        return "no roof"
    figure = row.roof_percent
    return f"{figure.median:.1f}" + (f" ({figure.low:.0f}-{figure.high:.0f})" if spread else "")


def print_roofs(rows, n, k, threads, spread):
    """One weight on so many threads."""
    cases = [case for case in rows if (case.n, case.k, case.threads) == (n, k, threads)]
    columns = unique(bench_json.format_name(case) for case in sorted(cases, key=bench_json.format_order))
    at = {(case.m, bench_json.format_name(case)): rows[case] for case in cases}
    print(f"### N x K = {n} x {k}, {threads} thread{'s' if threads > 1 else ''}: percent of the roof\n")
    lines = [[str(m)] + [roof_text(at.get((m, column)), spread) for column in columns] for m in sorted({case.m for case in cases})]
    kept = [next(at[m, column] for m, c in at if c == column).counters.get("bytes_per_weight") for column in columns]
    lines.append(["bytes kept per weight"] + [f"{bytes_:.3f}" if bytes_ else "" for bytes_ in kept])
    print_table(["M"] + columns, lines)


def print_scaling(rows):
    lines = []
    for case, row in rows.items():
        alone = rows.get(case._replace(threads=1))
        if case.threads == 1 or alone is None:
            continue
        lines.append([f"{case.n} x {case.k}", bench_json.format_name(case), str(case.m), str(case.threads),
                      f"{alone.time_us.median / row.time_us.median:.2f}", roof_text(row, False)])
    if lines:
        print("### Threads: times as fast as one, and percent of the roof of so many threads\n")
        print_table(["N x K", "format", "M", "threads", "times", "percent of the roof"], lines)


def time_text(us):
    for unit, scale in (("ns", 1e-3), ("us", 1.0)):
        if us < 1000 * scale:
            return f"{us / scale:.3g} {unit}"
    return f"{us / 1e3:.4g} ms"


def print_others(reports):
    lines = []
    rows = {}
    for report in reports:
        rows.update(report.rows)
    for row in rows.values():
        if row.case:
            continue
        shown = [f"{key} {row.counters[key]:.4g}" for key in ("GB/s", "median_us", "max_us", "first_us") if key in row.counters]
        lines.append([row.name, time_text(row.time_us.median), f"{time_text(row.time_us.low)} - {time_text(row.time_us.high)}",
                      ", ".join(shown)])
    if lines:
        print("### Everything else\n")
        print_table(["row", "median", "middle half", "counters"], lines)


def print_reports(reports, spread):
    rows = bench_json.one_machine(reports)
    context = reports[-1].context
    print(f"{reports[-1].cpu}, {bench_json.dates(reports)}, zenwoq {context['zenwoq_version']}, tier {context['tier']}.")
    for threads in unique(case.threads for case in rows):
        read, loop, peak = (context.get(f"{key}_t{threads}", "?") for key in ("read_gb_per_s", "read_loop", "peak_gflop_per_s"))
        print(f"Roof of {threads} thread{'s' if threads > 1 else ''} at the start: {read} GB/s ({loop}), {peak} GFLOP/s.")
    if int(context["cold_bytes"]) < 2 * int(context["l3_bytes"].split()[0]):
        print("**The weights were not cold**: fewer bytes of them than twice the L3.")
    print()
    for n, k, threads in unique((case.n, case.k, case.threads) for case in rows):
        print_roofs(rows, n, k, threads, spread)
    alone = [row for case, row in rows.items() if case.threads == 1]
    disturbed = [row for row in alone if row.busy < 0.95]
    if disturbed:
        print(f"**{len(disturbed)} of {len(alone)} linear rows of one thread shared their CPU with other programs**: the thread ran for less than "
              "95 % of the time.\n")
    print_scaling(rows)
    print_others(reports)
    for report in reports:
        for name, message in report.errors.items():
            print(f"Not measured: {name}: {message}")


def main():
    parser = argparse.ArgumentParser(
        description="Prints the JSON of zenwoq-bench, and that of bench/peers.py, as Markdown tables. Medians of repetitions.")
    parser.add_argument("files", metavar="FILE.json", nargs="+",
                        help="those of zenwoq-bench: of one CPU; rows of a later file replace those of an earlier one")
    parser.add_argument("--spread", action="store_true", help="show where the middle half of the repetitions lies")
    arguments = parser.parse_args()
    files = [(path, bench_json.read_json(path)) for path in arguments.files]
    reports = [bench_json.as_report(path, data) for path, data in files if not bench_json.is_peers(data)]
    if reports:
        print_reports(reports, arguments.spread)
    for path, data in files:
        if bench_json.is_peers(data):
            try:
                peers_table.print_peers(data, arguments.spread)
            except (KeyError, TypeError) as error:
                bench_json.fail(f"{path}: not the JSON of bench/peers.py: {type(error).__name__} {error}")


if __name__ == "__main__":
    main()
