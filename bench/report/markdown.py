# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown, aligned so that they can be read in a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of a head and of lines with as many cells as the head."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *lines, strict=True)]

    def text(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([text(head), rule, *(text(line) for line in lines)]) + "\n"
