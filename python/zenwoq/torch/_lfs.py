# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What git leaves in place of a large file that was not fetched."""

from __future__ import annotations

import os

_START = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for a git-lfs pointer, OSError for a file that cannot be read."""
    with open(path, "rb") as file:
        start = file.read(len(_START))
    if start == _START:
        raise ValueError(f"{os.fspath(path)}: is a git-lfs pointer, not the file itself: fetch that with git lfs pull")
