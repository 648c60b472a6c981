#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the reader that docs/zwq.md shows on the .zwq files among the fixtures: the document says what is so."""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"


def reader() -> dict[str, Any]:
    """The functions of the document."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "zwq.md").read_text(), re.DOTALL | re.MULTILINE)
    if len(blocks) != 1:
        sys.exit(f"docs/zwq.md has {len(blocks)} blocks of Python, 1 is expected")
    functions: dict[str, Any] = {}
    exec(compile(blocks[0], "docs/zwq.md", "exec"), functions)  # it is our own document
    return functions


def floats(path: Path) -> dict[str, tuple[float, ...]]:
    """The f32 tensors of a safetensors file."""
    file = path.read_bytes()
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = struct.unpack(f"<{(end - begin) // 4}f", file[begin:end])
    return tensors


def check_values(functions: dict[str, Any]) -> int:
    """Compares what the reader sees in mixed.zwq with gguf-py's values; returns how many were compared."""
    expected = floats(FIXTURES / "expected_gguf.safetensors")
    compared = 0
    for kind, name, element, shape, content, _ in functions["entries"](FIXTURES / "zwq" / "mixed.zwq"):
        wanted = expected.get(f"{name.removesuffix('.weight')}.dequantized")
        if kind == 1 and element == "gguf q4_0":
            _, n, k = shape
            for i in range(n):
                assert tuple(functions["row"](content, i)) == wanted[i * k : (i + 1) * k], (name, i)
            compared += n * k
        elif kind == 2 and element == "f32" and wanted is not None:
            assert struct.unpack(f"<{len(content) // 4}f", content) == wanted, name
            compared += len(wanted)
    return compared


def check_damage(functions: dict[str, Any], file: Path) -> None:
    """The reader notices what the document says."""
    whole = file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / "damaged.zwq"
        for at in (5, 20, 60, 100, len(whole) - 200):
            damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            try:
                list(functions["entries"](damaged))
            except ValueError:
                continue
            sys.exit(f"{file.name}: byte {at} is damaged, which the reader does not notice")


def main() -> int:
    """Checks all."""
    functions = reader()
    for path in sorted((FIXTURES / "zwq").glob("*.zwq")):
        kinds = [kind for kind, *_ in functions["entries"](path)]
        assert 1 in kinds, path
        check_damage(functions, path)
    compared = check_values(functions)
    if compared < 1000:
        sys.exit(f"only {compared} values were compared: the test sees too little")
    print(f"{compared} values are those of gguf-py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
