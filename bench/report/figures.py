# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of several repetitions, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Repetitions of one figure: the median, and where the middle half of them lies."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of these values. Fewer than four have no middle half; it is then all of them."""
        ordered = sorted(values)
        quarters = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 3 else ordered
        return cls(statistics.median(ordered), quarters[0], quarters[-1])

    @classmethod
    def read(cls, cells: Mapping[str, str], name: str) -> Spread:
        """Reads the three cells that `cells` writes."""
        return cls(*(float(cells[key]) for key in (name, f"{name}_low", f"{name}_high")))

    def cells(self, name: str) -> dict[str, str]:
        """Three cells of a stored row, in which the median has the figure's name."""
        return {name: number(self.median), f"{name}_low": number(self.low), f"{name}_high": number(self.high)}


def number(value: float) -> str:
    """Nine digits, so that stored runs give the same pictures as the runs themselves; whole numbers keep all digits."""
    text = f"{value:.9g}"
    return f"{value:.0f}" if value == round(value) or ("e" in text and abs(value) > 1) else text


def count(amount: int, noun: str) -> str:
    """``"1 thread"``, ``"2 threads"``."""
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def unique(values: Iterable[T]) -> list[T]:
    """The values without repetitions, in order of appearance."""
    return list(dict.fromkeys(values))
