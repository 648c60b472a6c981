# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the table, and the figures that have an aim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.report import markdown


@dataclass
class Row:
    """A row of the table; `values` go into the JSON file as they are."""

    part: str
    name: str
    token: str = ""
    prompt: str = ""
    note: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Aim:
    """A figure that should be at most, or at least, `limit`."""

    text: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{'met   ' if self.met else 'MISSED'}  {self.text}: {self.value:.2f} {sign} {self.limit:.2f}"


def table(rows: list[Row]) -> str:
    """A Markdown table of all rows."""
    head = ("part", "variant", "a token", "the prompt", "")
    return markdown.table(head, [(row.part, row.name, row.token, row.prompt, row.note) for row in rows])


def aims(rows: list[Row]) -> list[Aim]:
    """The figures that have an aim; those whose variants were not measured are left out."""
    at = {(row.part, row.name): row.values for row in rows}
    found = []

    def add(text: str, part: str, name: str, key: str, limit: float | None, at_most: bool = True) -> None:
        if (part, name) in at and limit is not None:
            found.append(Aim(text, at[part, name][key], limit, at_most))

    for row in rows:
        if row.part == "operator":
            add(
                f"operator over the C call, {row.values['n']} x {row.values['k']}, us",
                row.part,
                row.name,
                "over_c_us",
                5,
            )
    add("llama, compiled: a token over the roof", "llama", "zenwoq intx inductor", "over_roof", 1.5)
    add("llama, eager: a token over the roof", "llama", "zenwoq intx eager", "over_roof", 1.8)
    dense = at.get(("llama", "torch bf16 eager"), {}).get("prompt_ms")
    for how in ("eager", "inductor"):
        add(f"llama, {how}: prompt in ms, torch bf16's at most", "llama", f"zenwoq intx {how}", "prompt_ms", dense)
    other = at.get(("smollm2", "llama.cpp Q4_0"), {})
    for how in ("eager", "inductor"):
        for what in ("prompt_tokens_per_s", "tokens_per_s"):
            text = f"smollm2, {how}: {what.replace('_per_s', '/s').replace('_', ' ')}, llama.cpp's of Q4_0 at least"
            add(text, "smollm2", f"zenwoq gguf {how}", what, other.get(what), False)
    for how, times in (("eager", 1.4), ("inductor", 1.0)):
        apart = at.get(("smollm2", f"zenwoq apart gguf {how}"), {}).get("tokens_per_s")
        limit = None if apart is None else times * apart
        text = f"smollm2, {how}: tokens/s, {times} times those of blocks apart at least"
        add(text, "smollm2", f"zenwoq gguf {how}", "tokens_per_s", limit, False)
    return found
