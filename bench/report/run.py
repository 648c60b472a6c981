# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""One run's results as a table of texts, read from a program's JSON or a stored CSV, and written to a CSV.

A stored file begins with comment lines ``# key: value``, the first of which is ``# kind: zenwoq-bench`` (or ``peers``,
``llm``, ``serve``). A head line and a line for each row follow. Both forms give the same Run.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.report import convert
from bench.report.figures import unique

PROGRAMS = {
    "zenwoq-bench": "zenwoq-bench (--json FILE)",
    "peers": "bench/peers.py",
    "llm": "bench/llm.py",
    "serve": "bench/serve.py",
}
LAST_COLUMNS = ("label", "notes", "not_measured")  # texts that may be long


class ReadError(Exception):
    """Why a file cannot be read, in one sentence."""


@dataclass
class Run:
    """What one run measured.

    Attributes:
        path: the file.
        kind: the program that measured it, a key of PROGRAMS.
        context: CPU, date, versions and whatever else belongs to all rows.
        rows: the cells of each row by column; a cell that is not there is missing or empty.
    """

    path: str
    kind: str
    context: dict[str, str]
    rows: list[dict[str, str]]

    def csv(self) -> str:
        """The stored form."""
        columns = unique(column for row in self.rows for column in row)
        columns.sort(key=lambda column: LAST_COLUMNS.index(column) if column in LAST_COLUMNS else -1)
        text = io.StringIO()
        for key, value in {"kind": self.kind, **self.context}.items():
            text.write(f"# {key}: {value}".rstrip() + "\n")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


def load(path: str | Path) -> Run:
    """Reads either form. Raises ReadError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ReadError(f"{path}: neither JSON nor a stored CSV: it is no text") from None
    return of_csv(str(path), text) if text.startswith("#") else of_json(str(path), text)


def of_json(path: str, text: str) -> Run:
    """Reads a program's output. Raises ReadError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ReadError(f"{path}: neither JSON nor a stored CSV: {error}") from None
    return of_data(path, data)


def of_data(path: str, data: Any) -> Run:
    """Makes a run of what a program writes as JSON. Raises ReadError."""
    kind = "zenwoq-bench" if "benchmarks" in data else data.get("kind") if isinstance(data, dict) else None
    if kind not in convert.KINDS:
        raise ReadError(f"{path}: JSON, but of none of {', '.join(PROGRAMS.values())}")
    try:
        context, rows = convert.KINDS[kind](data)
    except (AttributeError, KeyError, TypeError) as error:
        raise ReadError(f"{path}: not the JSON of {PROGRAMS[kind]}: {type(error).__name__} {error}") from None
    return Run(path, kind, context, rows)


def of_csv(path: str, text: str) -> Run:
    """Reads a stored file. Raises ReadError."""
    lines = text.splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    context = {}
    for i, line in enumerate(lines[:head]):
        key, colon, value = line[1:].partition(":")
        if not colon:
            raise ReadError(f'{path}:{i + 1}: "{line}" is not "# key: value"')
        context[key.strip()] = value.strip()
    kind = context.pop("kind", "")
    if kind not in PROGRAMS:
        raise ReadError(f'{path}: no stored run: its "# kind:" is "{kind}", must be one of {", ".join(PROGRAMS)}')
    reader = csv.reader(lines[head:])
    columns = next(reader, [])
    rows = []
    for cells in reader:
        if len(cells) != len(columns):
            raise ReadError(f"{path}:{head + reader.line_num}: {len(cells)} cells, but {len(columns)} columns")
        rows.append({column: cell for column, cell in zip(columns, cells, strict=True) if cell})
    return Run(path, kind, context, rows)


def view(run: Run, kind: str, make: Callable[[Run], Any]) -> Any:
    """What `make` makes of a run of this kind. Raises ReadError if the run is of another kind or lacks something."""
    if run.kind != kind:
        raise ReadError(f"{run.path}: not of {PROGRAMS[kind]} but of {PROGRAMS[run.kind]}")
    try:
        return make(run)
    except KeyError as error:
        raise ReadError(f"{run.path}: a row or the context has no {error.args[0]}") from None
    except ValueError as error:
        raise ReadError(f"{run.path}: {error}") from None


def fail(error: object) -> NoReturn:
    """Prints a message for the user and exits with 2, because 1 means to compare that there are regressions."""
    print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
    sys.exit(2)
