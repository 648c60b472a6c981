#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the layout of the public structs, by a C program made from the header that prints it.

generate HEADER...   prints the program: size and offsets of every struct of the headers
check PROGRAM BINDING   runs it and compares each ctypes struct of BINDING (python/zenwoq/_structs.py) with it; also
    that struct_size comes first and that no struct ends in padding, into which a later field would fall unseen
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PARTS = ("zenwoq_matrix",)  # structs that lie in others, which say their size: they never grow

Layout = dict[str, Any]  # {"size": bytes, "fields": {name: [offset, bytes]}}


def structs_of(header: str) -> dict[str, list[str]]:
    """Names of the structs and their fields, in order."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    structs = {}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, flags=re.DOTALL):
        declarators = [part for line in body.split(";") for part in line.split(",")]
        structs[name] = [re.findall(r"(\w+)\s*(?:\[\w+\])?\s*$", part)[0] for part in declarators if part.strip()]
    return structs


def program(header: str) -> str:
    """The text of the C program."""
    lines = [f"#include <{name}>" for name in ("stddef.h", "stdio.h", "zenwoq/formats.h")]
    lines += ["int main(void) {", '  printf("{");']
    structs = structs_of(header)
    for i, (struct, fields) in enumerate(structs.items()):
        lines.append(f'  printf("\\"{struct}\\": {{\\"size\\": %zu, \\"fields\\": {{", sizeof({struct}));')
        for j, field in enumerate(fields):
            comma = "" if j + 1 == len(fields) else ", "
            place = f"offsetof({struct}, {field}), sizeof((({struct} *)0)->{field})"
            lines.append(f'  printf("\\"{field}\\": [%zu, %zu]{comma}", {place});')
        lines.append(f'  printf("}}}}{"" if i + 1 == len(structs) else ", "}");')
    lines += ['  printf("}\\n");', "  return 0;", "}"]
    return "\n".join(lines) + "\n"


def binding_of(path: str) -> ModuleType:
    """Imports the module without the package around it."""
    spec = importlib.util.spec_from_file_location("binding", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["binding"] = module
    spec.loader.exec_module(module)
    return module


def bound_layouts(module: ModuleType) -> dict[str, Layout]:
    """Layouts of the module's ctypes structs, by the C name in their docstrings."""
    layouts: dict[str, Layout] = {}
    for value in vars(module).values():
        if not (isinstance(value, type) and issubclass(value, ctypes.Structure) and hasattr(value, "_fields_")):
            continue
        names = re.findall(r"``(zenwoq_\w+)``", value.__doc__ or "")
        if len(names) != 1:
            raise SystemExit(f"{value.__name__}: its docstring must name one C struct")
        places = {field[0]: getattr(value, field[0]) for field in value._fields_}
        fields = {field: [place.offset, place.size] for field, place in places.items()}
        layouts[names[0]] = {"size": ctypes.sizeof(value), "fields": fields}
    return layouts


def faults(actual: dict[str, Layout], bound: dict[str, Layout]) -> list[str]:
    """What is wrong, in one sentence each."""
    found = []
    for name, layout in actual.items():
        fields = list(layout["fields"].items())
        if fields[0] != ("struct_size", [0, 8]) and name not in PARTS:
            found.append(f"{name}: begins with {fields[0][0]}, not with struct_size")
        last, (offset, size) = fields[-1]
        if offset + size != layout["size"]:
            padding = layout["size"] - offset - size
            found.append(f"{name}: {padding} bytes of padding after {last}: add a reserved field")
    for name, layout in bound.items():
        if name not in actual:
            found.append(f"{name}: bound, but not in the header")
        elif layout != actual[name]:
            found.append(f"{name}: bound as {layout}, the header has {actual[name]}")
    if len(actual) < 11 or not bound:
        found.append(f"only {len(actual)} structs in the header and {len(bound)} bound: the test reads too little")
    return found


def main() -> int:
    """Runs one of the two commands."""
    if sys.argv[1] == "generate":
        print(program("".join(Path(header).read_text() for header in sys.argv[2:])), end="")
        return 0
    printed = subprocess.run([sys.argv[2]], check=True, capture_output=True, text=True).stdout
    actual = json.loads(printed)
    found = faults(actual, bound_layouts(binding_of(sys.argv[3])))
    print("\n".join(found) or f"{len(actual)} structs as they must be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
