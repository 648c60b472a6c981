# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The JSON of a program that measures peers, and what it says on the way."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol


class Named(Protocol):
    """What is measured."""

    @property
    def key(self) -> str:
        """Its name."""


class Results:
    """What was measured so far.

    Attributes:
        data: the JSON.
    """

    def __init__(self, program: str, kind: str, file: Path | None, **settings: Any):
        """Begins.

        Args:
            program: its name, before all that it says.
            kind: of the JSON.
            file: where the JSON goes; None: nowhere.
            settings: that go into the JSON.
        """
        self._program, self._file = program, file
        self._begin = time.monotonic()
        self.data: dict[str, Any] = {
            "kind": kind,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **settings,
            "peers": [],
            "rows": [],
            "not_measured": [],
        }

    def say(self, text: str) -> None:
        """Says it on stderr."""
        print(f"{self._program}: {text}", file=sys.stderr, flush=True)

    def skip(self, entry: Named, reason: str, where: str, /, **details: Any) -> None:
        """Says that a peer is not measured, and why; details go into the JSON."""
        self.say(f"NOT measured: {entry.key}{where}: {reason}")
        self.data["not_measured"].append({"key": entry.key, **details, "reason": reason})

    def take_cpu(self, zenwoq: dict[str, Any] | None) -> dict[str, Any] | None:
        """Takes what zenwoq says of the CPU, and returns all that it says. Says so where it does not run: None."""
        if zenwoq is None:
            self.say("without zenwoq there is nothing to compare with")
        else:
            self.data.update({key: zenwoq[key] for key in ("cpu", "uarch", "tier", "tuning", "l3_bytes")})
        return zenwoq

    def add(self, rows: Iterable[dict[str, Any]], what: str) -> None:
        """Adds rows of `what`, and writes, so that results survive whatever comes."""
        self.data["rows"] += rows
        self.data["wall_seconds"] = time.monotonic() - self._begin
        self.say(f"{what} done after {self.data['wall_seconds']:.0f} s")
        self.write()

    def write(self) -> None:
        """Writes the JSON."""
        if self._file:
            self._file.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
