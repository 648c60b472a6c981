# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Names what became slower from one run of zenwoq-bench to another.

The exit status is 0 if nothing did, 1 if something did or failed, 2 if the files cannot be compared.
"""

from __future__ import annotations

import argparse

from bench.report.linear import Report, Row
from bench.report.run import ReadError, fail, load


def percent(text: str) -> float:
    """Parses "3" or "3%" on the command line."""
    value = float(text.rstrip("%"))
    if not 0 <= value < 1000:
        raise ValueError
    return value


class Change:
    """How one row changed.

    Attributes:
        worse: percent by which the median is worse, negative where it is better.
        counts: whether that is more than the threshold, and more than noise.
    """

    def __init__(self, old: Row, new: Row, by_roof: bool, threshold: float):
        self._name = new.name
        before, after, self._unit = old.time_us, new.time_us, " us"
        if by_roof and old.roof_percent and new.roof_percent:
            before, after, self._unit = old.roof_percent, new.roof_percent, " % of the roof"
            ratio = before.median / after.median
        else:
            ratio = after.median / before.median
        self.worse = (ratio - 1) * 100
        # A change is more than noise if the middle halves of the repetitions do not touch.
        apart = after.low > before.high or before.low > after.high
        self.counts = abs(self.worse) > threshold and apart
        self._before, self._after = before.median, after.median

    def __str__(self) -> str:
        way = "worse" if self.worse > 0 else "better"
        return f"{self._name}: {self._before:.4g} -> {self._after:.4g}{self._unit}, {abs(self.worse):.1f} % {way}"


def compare(old: Report, new: Report, by_roof: bool, threshold: float) -> bool:
    """Prints what changed; returns whether anything became slower or failed. Raises ReadError."""
    common = [name for name in old.rows if name in new.rows]
    if not common:
        raise ReadError(f"{old.path} and {new.path} have no row in common")
    for key in ("cpu", "uarch", "tier", "tuning", "cold_bytes"):
        if old.context.get(key) != new.context.get(key):
            print(f"note: {key} was {old.context.get(key)}, is {new.context.get(key)}")
    changes = [Change(old.rows[name], new.rows[name], by_roof, threshold) for name in common]
    regressions = [change for change in changes if change.counts and change.worse > 0]
    for change in regressions:
        print(f"regression: {change}")
    for change in changes:
        if change.counts and change.worse < 0:
            print(f"better: {change}")
    for name in old.rows:
        if name not in new.rows:
            print(f"missing: {name} is only in {old.path}")
    for name, message in new.errors.items():
        print(f"error: {name}: {message}")
    beyond = f"{len(regressions)} regressions beyond {threshold:g} %"
    print(f"{len(common)} rows compared, {beyond}, {len(new.errors)} errors")
    return bool(regressions or new.errors)


def main() -> int:
    """Compares two files."""
    parser = argparse.ArgumentParser(
        prog="python3 -m bench.report.compare",
        description="Names the rows of zenwoq-bench that became slower: the median is worse by more than the "
        "threshold, and the middle halves of the repetitions do not touch. Exit status 1 if there is any.",
    )
    parser.add_argument("old", metavar="OLD", help="a JSON or a stored CSV")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("--threshold", type=percent, default=3.0, metavar="PERCENT", help="default: 3%%")
    parser.add_argument(
        "--by",
        choices=("time", "roof"),
        default="time",
        help="roof: the percent of the roof where a row has it, since machines drift between runs; default: time",
    )
    arguments = parser.parse_args()
    try:
        old, new = (Report.of(load(path)) for path in (arguments.old, arguments.new))
        return int(compare(old, new, arguments.by == "roof", arguments.threshold))
    except ReadError as error:
        fail(error)


if __name__ == "__main__":
    raise SystemExit(main())
