#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Checks SECURITY.md: each promise in its tables names a test, and all tests that it names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tests() -> set[str]:
    """All tests as SECURITY.md writes them: Suite.Case, file.py::test_case, scripts and words of tests/meson.build."""
    names = set()
    for file in (ROOT / "tests").rglob("*.cpp"):
        names |= {".".join(case) for case in re.findall(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", file.read_text(), re.M)}
    for file in (ROOT / "python" / "tests").glob("*.py"):
        names |= {f"{file.name}::{case}" for case in re.findall(r"^def (test_\w+)", file.read_text(), re.M)}
    build = (ROOT / "tests" / "meson.build").read_text()
    names |= {f"tests/{file.name}" for file in (ROOT / "tests").glob("*.py") if f"'{file.name}'" in build}
    return names | set(re.findall(r"'([\w-]+)'", build))


def main() -> int:
    """Prints what is wrong."""
    text = (ROOT / "SECURITY.md").read_text()
    named = re.compile(r"`(\w+\.py::\w+|[A-Z]\w+\.[A-Z]\w+|\w+_test|consumers_\w+|exported_symbols|tests/locks\.py)`")
    known = tests()
    faults = [
        f"SECURITY.md names {name}, which is no test"
        for name in named.findall(text)
        if name.removeprefix("consumers_") not in known
    ]
    rows = [row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    faults += [f"no test holds this promise: {row}" for row in rows if not named.search(row.split(" | ")[-1])]
    print("\n".join(faults) or f"ok: {len(rows)} promises")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
