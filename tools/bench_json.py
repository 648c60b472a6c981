# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Reads the JSON of zenwoq-bench and of bench/peers.py: what bench_table.py, plot_bench.py and compare_bench.py share.
import json
import re
import statistics
import sys
from collections import namedtuple

# A weight's format, and how it is run. group 0 = per channel; scale and zero as in row names: "bf16", "z0" (none), "zi", "za".
Case = namedtuple("Case", "n k group scale zero m threads")

LINEAR = re.compile(r"linear/(\d+)x(\d+)/(?:pc|g(\d+))/s(\w+)/(z.)/m(\d+)/t(\d+)/")
UNITS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}


class Spread:
    """Repetitions of one figure: the median, and where the middle half of them lies."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = statistics.median(self.values)
        # Of fewer than four there is no middle half.
        quarters = statistics.quantiles(self.values, n=4, method="inclusive") if len(self.values) > 3 else self.values
        self.low, self.high = quarters[0], quarters[-1]


class Row:
    def __init__(self, name, repetitions):
        self.name = name
        self.label = repetitions[0].get("label", "")
        self.time_us = Spread([r["real_time"] * UNITS[r["time_unit"]] for r in repetitions])
        self.roof_percent = Spread([r["roof_percent"] for r in repetitions]) if "roof_percent" in repetitions[0] else None
        self.counters = {key: statistics.median(r[key] for r in repetitions) for key, value in repetitions[0].items()
                         if isinstance(value, (int, float)) and all(key in r for r in repetitions)}
        # The part of the time in which the calling thread ran: less than 1 says that others used its CPU.
        self.busy = statistics.median(r["cpu_time"] / r["real_time"] for r in repetitions)
        match = LINEAR.match(name)
        self.case = None
        if match:
            n, k, group, scale, zero, m, threads = match.groups()
            self.case = Case(int(n), int(k), int(group or 0), scale, zero, int(m), int(threads))


class Report:
    """One file of zenwoq-bench."""

    def __init__(self, path, data):
        self.path = path
        self.context = data["context"]
        repetitions, self.errors = {}, {}
        for row in data["benchmarks"]:
            if row.get("error_occurred"):
                self.errors[row["run_name"]] = row.get("error_message", "")
            elif row.get("run_type") == "iteration":
                repetitions.setdefault(row["run_name"], []).append(row)
        self.rows = {name: Row(name, rows) for name, rows in repetitions.items() if name not in self.errors}

    def linear(self):
        return {row.case: row for row in self.rows.values() if row.case}

    @property
    def cpu(self):
        return f"{self.context['cpu']}, {self.context['uarch']}"

    @property
    def date(self):
        return self.context["date"][:10]


def fail(text):
    """A sentence for the user, and 2: 1 is compare_bench.py's "there are regressions"."""
    print(f"{sys.argv[0].rsplit('/', 1)[-1]}: {text}", file=sys.stderr)
    sys.exit(2)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except ValueError as error:
        fail(f"{path}: no JSON: {error}")


def is_peers(data):
    return isinstance(data, dict) and data.get("kind") == "peers"


def as_report(path, data):
    try:
        return Report(path, data)
    except (KeyError, TypeError) as error:
        fail(f"{path}: not the JSON of zenwoq-bench (--json FILE): {type(error).__name__} {error}")


def read_reports(paths):
    return [as_report(path, read_json(path)) for path in paths]


def one_machine(reports):
    """Linear rows of several files, a later file's in the place of an earlier one's. Figures of two CPUs make no one picture."""
    if len({report.cpu for report in reports}) > 1:
        fail("files of several CPUs: " + "; ".join(f"{report.path}: {report.cpu}" for report in reports))
    rows = {}
    for report in reports:
        rows.update(report.linear())
    return rows


def dates(reports):
    days = sorted({report.date for report in reports})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


ZERO_NAMES = {"z0": "", "zi": "integer zero", "za": "offset"}


def format_name(case):
    """What sets a line or a column apart: "g128", "per channel, offset", "g32, f16"."""
    parts = [f"g{case.group}" if case.group else "per channel", ZERO_NAMES[case.zero], "" if case.scale == "bf16" else case.scale]
    return ", ".join(part for part in parts if part)


def format_order(case):
    """Per channel, then from large groups to small; symmetric before the rest."""
    return (-case.group if case.group else -10**9, list(ZERO_NAMES).index(case.zero), case.scale)


def unique(values):
    return list(dict.fromkeys(values))
