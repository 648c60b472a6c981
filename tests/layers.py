#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The include graph of the C and C++ sources: rooms, the arrows between them, and a check that no arrow runs upward.

layers.py          checks, prints what is wrong
layers.py --graph  prints rooms by floor, their lines and what they include
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A room may include itself and any room of a lower floor.
FLOORS = [
    ["include", "src/text"],
    ["jit"],
    ["src/system"],
    ["src/cpu", "src/weight", "src/registry", "src/reference"],
    ["src/plan", "src/activations"],
    ["src/run"],
    ["src/api"],
    ["formats/container"],
    ["formats", "python", "examples"],
    ["tools"],
    ["bench"],
    ["tests/emulator"],
    ["tests/support"],
    ["tests"],
]
# Rooms that know the library by its header alone; src/text has nothing of the library.
ON_THE_HEADER = ["formats/container", "formats"]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: str) -> str:
    """The longest room that a file lies in."""
    rooms = [room for room in FLOOR_OF if path.startswith(room + "/")]
    if not rooms:
        raise SystemExit(f"{path}: in no room of tests/layers.py")
    return max(rooms, key=len)


def sources() -> list[Path]:
    """All C and C++ files."""
    folders = ["include", "jit", "src", "formats", "tools", "bench", "python", "examples", "tests"]
    return sorted(f for folder in folders for end in ("*.h", "*.cpp") for f in (ROOT / folder).rglob(end))


def target_of(include: str) -> str:
    """The file that an include means, from the repository's root."""
    return f"include/{include}" if include.startswith("zenwoq/") else include


def read() -> tuple[dict[str, int], dict[tuple[str, str], list[str]], list[str]]:
    """Lines of each room, the includes of each arrow, and includes that are wrong in themselves."""
    lines: dict[str, int] = defaultdict(int)
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    faults = []
    for file in sources():
        path = str(file.relative_to(ROOT))
        room = room_of(path)
        text = file.read_text()
        lines[room] += text.count("\n")
        for include in re.findall(r'^#include "([^"]+)"', text, flags=re.MULTILINE):
            target = target_of(include)
            if not (ROOT / target).is_file():
                faults.append(f'{path}: #include "{include}" does not say its room')
            elif room_of(target) != room:
                arrows[room, room_of(target)].append(f"{path} -> {target}")
    return lines, arrows, faults


def main() -> int:
    """Prints the graph or what is wrong with it."""
    lines, arrows, faults = read()
    upward = {arrow: files for arrow, files in arrows.items() if FLOOR_OF[arrow[0]] <= FLOOR_OF[arrow[1]]}
    if "--graph" in sys.argv:
        for floor in range(len(FLOORS) - 1, -1, -1):
            for room in FLOORS[floor]:
                below = sorted(to for start, to in arrows if start == room)
                print(f"floor {floor:2}  {room:<16}{lines[room]:6} lines  -> {', '.join(below) or 'nothing'}")
        print(f"{len(arrows)} arrows, {len(upward)} upward")
    for (start, to), files in arrows.items():
        if start in ON_THE_HEADER and to not in ["include", "src/text", *ON_THE_HEADER]:
            faults += [f"{start} knows the library by its header alone: {file}" for file in files]
    for (start, to), files in upward.items():
        faults += [f"{start} is not above {to}: {file}" for file in files]
    if len(lines) < len(FLOOR_OF):
        faults.append(f"no files in {sorted(set(FLOOR_OF) - set(lines))}: mend the list of rooms")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
