#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Names what became slower from one JSON file of zenwoq-bench to another. Exit status: 0 nothing did, 1 something did or failed,
# 2 the files cannot be compared.
import argparse

import bench_json


def percent(text):
    value = float(text.rstrip("%"))
    if not 0 <= value < 1000:
        raise ValueError
    return value


class Change:
    """Of one row. worse: percent by which the median is worse, negative where it is better."""

    def __init__(self, old, new, by_roof, threshold):
        self.name = new.name
        self.by_roof = by_roof and old.roof_percent is not None and new.roof_percent is not None
        before, after = (old.roof_percent, new.roof_percent) if self.by_roof else (old.time_us, new.time_us)
        ratio = before.median / after.median if self.by_roof else after.median / before.median
        self.worse = (ratio - 1) * 100
        # More than noise: the middle halves of the repetitions do not touch.
        apart = after.low > before.high or before.low > after.high
        self.counts = abs(self.worse) > threshold and apart
        self.before, self.after = before.median, after.median

    def text(self):
        unit = " % of the roof" if self.by_roof else " us"
        way = "worse" if self.worse > 0 else "better"
        return f"{self.name}: {self.before:.4g} -> {self.after:.4g}{unit}, {abs(self.worse):.1f} % {way}"


def main():
    parser = argparse.ArgumentParser(
        description="Names the rows of zenwoq-bench that became slower: the median is worse by more than the threshold, and the "
        "middle halves of the repetitions do not touch. Exit status 1 if there is any.")
    parser.add_argument("old", metavar="OLD.json")
    parser.add_argument("new", metavar="NEW.json")
    parser.add_argument("--threshold", type=percent, default=3.0, metavar="PERCENT", help="default: 3%%")
    parser.add_argument("--by", choices=("time", "roof"), default="time",
                        help="roof: the percent of the roof where a row has it, since machines drift between runs; default: time")
    arguments = parser.parse_args()
    old, new = bench_json.read_reports([arguments.old, arguments.new])
    common = [name for name in old.rows if name in new.rows]
    if not common:
        bench_json.fail(f"{old.path} and {new.path} have no row in common")
    for key in ("cpu", "uarch", "tier", "tuning", "cold_bytes"):
        if old.context.get(key) != new.context.get(key):
            print(f"note: {key} was {old.context.get(key)}, is {new.context.get(key)}")
    changes = [Change(old.rows[name], new.rows[name], arguments.by == "roof", arguments.threshold) for name in common]
    regressions = [change for change in changes if change.counts and change.worse > 0]
    for change in regressions:
        print(f"regression: {change.text()}")
    for change in changes:
        if change.counts and change.worse < 0:
            print(f"better: {change.text()}")
    for name in old.rows:
        if name not in new.rows:
            print(f"missing: {name} is only in {old.path}")
    for name, message in new.errors.items():
        print(f"error: {name}: {message}")
    print(f"{len(common)} rows compared, {len(regressions)} regressions beyond {arguments.threshold:g} %, {len(new.errors)} errors")
    return 1 if regressions or new.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
