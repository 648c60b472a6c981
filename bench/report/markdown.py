# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown, aligned so that a terminal shows them too."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A head and lines with as many cells as it has."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *lines, strict=True)]

    def text(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([text(head), rule, *(text(line) for line in lines)]) + "\n"
