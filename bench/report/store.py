# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Converts the JSON of zenwoq-bench and of the programs in bench/ into the CSV that bench/results keeps."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.report.run import ReadError, fail, load


def main() -> None:
    """Writes the CSV, or says why it cannot."""
    parser = argparse.ArgumentParser(prog="python3 -m bench.report.store", description=__doc__)
    parser.add_argument("json", metavar="FILE.json")
    parser.add_argument("csv", metavar="FILE.csv", type=Path, help="must not be there: stored figures are not edited")
    arguments = parser.parse_args()
    try:
        text = load(arguments.json).csv()
        with arguments.csv.open("x", encoding="utf-8") as file:
            file.write(text)
    except ReadError as error:
        fail(error)
    except OSError as error:
        fail(f"{arguments.csv}: {error.strerror}")


if __name__ == "__main__":
    main()
