# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of zenwoq-bench; those of linear layers also by what they measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.report.figures import Spread
from bench.report.run import ReadError, Run, view

LINEAR = re.compile(r"linear/(\d+)x(\d+)/(?:pc|g(\d+))/s(\w+)/(z.)(?:/(nf4))?/m(\d+)/t(\d+)/")
ZERO_NAMES = {"z0": "", "zi": "integer zero", "za": "offset"}


class Case(NamedTuple):
    """A weight's format, and how it is run. group 0 is per channel; scale and zero are as in the names of rows."""

    n: int
    k: int
    group: int
    scale: str  # "bf16"
    zero: str  # "z0" (none), "zi" (integer), "za" (offset)
    m: int
    threads: int
    table: str = ""  # of codes that are no integers: "nf4"

    @classmethod
    def of_name(cls, name: str) -> Case | None:
        """The case that a row's name states; None if the row is not a linear layer's."""
        match = LINEAR.match(name)
        if not match:
            return None
        n, k, group, scale, zero, table, m, threads = match.groups()
        return cls(int(n), int(k), int(group or 0), scale, zero, int(m), int(threads), table or "")

    @property
    def format(self) -> str:
        """The title of a line or column: "g128", "per channel, offset", "g32, f16"."""
        group = f"g{self.group}" if self.group else "per channel"
        parts = [group, ZERO_NAMES[self.zero], "" if self.scale == "bf16" else self.scale, self.table.upper()]
        return ", ".join(part for part in parts if part)

    @property
    def format_order(self) -> tuple[int, int, str, str]:
        """Sorts per channel first, then from large groups to small; symmetric before the rest."""
        return (-self.group if self.group else -(10**9), list(ZERO_NAMES).index(self.zero), self.scale, self.table)


class Row:
    """The results of one benchmark."""

    def __init__(self, cells: Mapping[str, str]):
        self.name = cells["name"]
        self.case = Case.of_name(self.name)
        self.time_us = Spread.read(cells, "time_us")
        self.roof_percent = Spread.read(cells, "roof_percent") if "roof_percent" in cells else None
        self.busy = float(cells["busy"])
        self._cells = cells

    def counter(self, name: str) -> float | None:
        """The median of a counter, if the row has it."""
        return float(self._cells[name]) if name in self._cells else None


class Report:
    """One run of zenwoq-bench."""

    def __init__(self, run: Run):
        self.path = run.path
        self.context = run.context
        self.cpu = f"{run.context['cpu']}, {run.context['uarch']}, tier {run.context['tier']}"
        self.date = run.context["date"][:10]
        self.errors = {cells["name"]: cells["not_measured"] for cells in run.rows if "not_measured" in cells}
        self.rows = {cells["name"]: Row(cells) for cells in run.rows if "not_measured" not in cells}

    @classmethod
    def of(cls, run: Run) -> Report:
        """Makes the report of a run. Raises ReadError if the run is another program's."""
        report = view(run, "zenwoq-bench", cls)
        assert isinstance(report, cls)
        return report

    def linear(self) -> dict[Case, Row]:
        """The rows of linear layers."""
        return {row.case: row for row in self.rows.values() if row.case}


def one_machine(reports: Sequence[Report]) -> dict[Case, Row]:
    """The linear rows of several files; those of later files replace those of earlier ones.

    Raises:
        ReadError: the files are of different CPUs or tiers, whose figures do not belong in one picture.
    """
    if len({report.cpu for report in reports}) > 1:
        raise ReadError(
            "files of several CPUs or tiers: " + "; ".join(f"{report.path}: {report.cpu}" for report in reports)
        )
    rows = {}
    for report in reports:
        rows.update(report.linear())
    return rows


def dates(reports: Sequence[Report]) -> str:
    """The day, or the first and the last."""
    days = sorted({report.date for report in reports})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
