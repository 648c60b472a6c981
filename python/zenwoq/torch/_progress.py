# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A bar on stderr while weights are packed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """Counts bytes."""

    def update(self, n: int) -> object:
        """So many bytes more."""


class _NoBar:
    def update(self, n: int) -> None:
        """Shows nothing."""


@contextmanager
def progress_bar(total: int, show: bool | None) -> Iterator[Bar]:
    """A bar by tqdm if that is installed; None shows it only on a terminal."""
    if show is None:
        show = sys.stderr.isatty()
    try:
        if not show:
            raise ImportError
        from tqdm import tqdm
    except ImportError:
        yield _NoBar()
        return
    with tqdm(total=total, desc="zenwoq: packing", unit="B", unit_scale=True, leave=False) as bar:
        yield bar
