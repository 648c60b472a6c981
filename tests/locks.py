#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Lists all that a thread can wait for in the library, and refuses what a forked child could wait for in vain.

The child of a fork has one thread. A lock that another thread held, a condition that another thread would have met, a
static object that another thread was making: it waits for them for ever. So the only lock is ForkMutex
(src/system/fork_mutex.h), and each place that waits otherwise is listed here with why it ends in a child.

locks.py ARCHIVE         checks the sources, and the symbols of the static library (with macros and headers of others)
locks.py ARCHIVE --list  prints locks and waits
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["include", "jit", "src", "formats", "python"]
MECHANISM = ["src/system/fork_mutex.cpp", "src/system/fork_mutex.h"]

# What no other file may name. Of std::mutex there is left: std::lock_guard on a ForkMutex.
LOCKS = re.compile(
    r"std::(?:\w*mutex\b|condition_variable\w*|once_flag|call_once|\w*semaphore\w*|latch\b|barrier\b|future\b|promise\b"
    r"|async\b|packaged_task|atomic_flag|shared_lock|unique_lock|scoped_lock|jthread|thread\b|atomic<std::shared_ptr)"
    r"|\bpthread_(?:mutex|cond|rwlock|spin|barrier|once)\w*|\bpthread_atfork\b|\bsem_\w+\(|\bflockfile\b|\bmtx_\w+"
    r"|while \([^;\n]*\.exchange\(|_mm_pause|__builtin_ia32_pause|\bsched_yield\b|test_and_set"
)
# Statics of a function that are made at run time have a hidden lock. (Those of a class or a file do not.)
STATIC = re.compile(r"[{};]|(?<!constexpr )(?<!constinit )\bstatic\b(?!\s+(?:constexpr|constinit)\b)")
NO_FUNCTION = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")  # before a brace

# Other means to wait: what they look like, and by file how often they are there and why a child gets through.
WAIT = re.compile(
    r"[.>](?:wait|wait_for|wait_until|join)\(|\bpthread_\w*join\w*|\bSYS_futex\w*|\bsleep_(?:for|until)\("
    r"|\b(?:u|nano|clock_nano)?sleep\(|\b(?:p?poll|p?select|epoll_p?wait\d?|wait(?:pid|id|3|4)|sigwait\w*|flock|lockf)\("
    r"|\bF_\w*SETLKW\b"
)
SPIN = re.compile(r"_mm_pause|\bsched_yield\b")
HANDLER = re.compile(r"\bpthread_atfork\b")
KNOWN = {
    "waits": (
        WAIT,
        {
            "src/registry/registry.cpp": (1, "for a thread of this process, which is another one after a fork"),
            "src/run/thread_pool.cpp": (3, "in a team of this process: a child leaves that of its parent alone"),
        },
    ),
    "spins": (SPIN, {"src/run/thread_pool.cpp": (2, "for a bounded time")}),
    "fork handlers": (
        HANDLER,
        {"python/torch_ops/context.cpp": (1, "sees that torch's threads are gone; takes nothing")},
    ),
}

# Undefined symbols that only the mechanism may have: locks, and the guards of statics.
SYMBOLS = re.compile(
    r"^(?:pthread_(?:mutex_(?:try|timed)?lock|cond_\w+|rwlock_\w+|spin_\w+|barrier_\w+|once)|sem_\w+|__cxa_guard_acquire"
    r"|_ZNSt18condition_variable\w*|_ZNSt6thread\w*|_ZSt\w*once\w*)$"
)


def code_of(text: str) -> str:
    """The text without comments and strings, line for line."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found.group())

    return re.sub(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'""", blank, text, flags=re.DOTALL)


def statics_of_functions(code: str) -> list[int]:
    """Where a function has a static that is made at run time."""
    places: list[int] = []
    functions: list[bool] = []  # of each open brace, whether it is a function's
    start = 0
    for m in STATIC.finditer(code):
        if m.group() == "static":
            places += [m.start()] if functions and functions[-1] else []
            continue
        if m.group() == "{":
            head = code[start : m.start()]
            while (shorter := re.sub(r"\([^()]*\)|<[^<>]*>", "", head)) != head:
                head = shorter
            functions.append(NO_FUNCTION.search(head) is None)
        elif m.group() == "}" and functions:
            functions.pop()
        start = m.end()
    return places


# What the functions above must find, and must not.
STATIC_SAMPLES = {
    "void f() { static Guard guard(1, 2); }": 1,
    "namespace a { int f(struct stat* s) { if (s) { static const int x = g(); } return 0; } }": 1,
    "template <class T> T& f() { static T x; return x; } auto g = [] { static Guard guard{1}; };": 2,
    "struct S { static S make(int x); static int count; void f() { static S s(1); } };": 1,
    "void f() { static constexpr int x = g(); constinit static int y = 1; struct T { static int g(int); }; }": 0,
    "static Guard of_the_file(1); namespace { static int f(int x); } class C { static int f() { return 1; } };": 0,
}
WAIT_SAMPLES = (
    "pthread_join(t, nullptr)",
    "thread.join()",
    "epoch_.wait(1)",
    "future->wait_for(x)",
    "syscall(SYS_futex, &word)",
    "std::this_thread::sleep_for(x)",
    "usleep(1)",
    "waitpid(1, 0, 0)",
    "fcntl(file, F_SETLKW, &lock)",
)


def check_itself() -> list[str]:
    """Samples that are not seen as they should be."""
    faults = [
        f"{code!r} has {len(found)} statics for this test, not {count}"
        for code, count in STATIC_SAMPLES.items()
        if len(found := statics_of_functions(code)) != count
    ]
    return faults + [f"{code!r} is no wait for this test" for code in WAIT_SAMPLES if not WAIT.search(code)]


def line_of(code: str, at: int) -> int:
    """The line of a place in a text."""
    return code.count("\n", 0, at) + 1


def check_sources() -> tuple[list[str], list[str]]:
    """What is wrong in the sources, and what there is."""
    faults, listed = [], []
    for file in sorted(f for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.suffix in (".h", ".cpp")):
        path = str(file.relative_to(ROOT))
        if path in MECHANISM:
            continue
        code = code_of(file.read_text())
        listed += [f"{path}:{line_of(code, m.start())}: {m.group(1)}" for m in re.finditer(r"\b(ForkMutex \w+);", code)]
        for what, (pattern, files) in KNOWN.items():
            places = [line_of(code, m.start()) for m in pattern.finditer(code)]
            count, why = files.get(path, (0, ""))
            if len(places) != count:
                faults.append(
                    f"{path}: {what} in lines {places}, tests/locks.py knows {count}: say there why a child ends"
                )
            listed += [f"{path}:{place}: {what}: {why}" for place in places]
        for m in LOCKS.finditer(code):
            if not (SPIN.fullmatch(m.group()) or HANDLER.fullmatch(m.group())):
                faults.append(f"{path}:{line_of(code, m.start())}: {m.group()}: the library's lock is ForkMutex")
        for at in statics_of_functions(code):
            faults.append(f"{path}:{line_of(code, at)}: a static made at run time: constinit, or made_once()")
    if len(listed) < 10:
        faults.append(f"{len(listed)} locks and waits: the test reads too little")
    return faults, listed


def check_symbols(archive: str) -> list[str]:
    """Objects of the library, other than the mechanism's, that lock."""
    printed = subprocess.run(["nm", "--undefined-only", archive], check=True, capture_output=True, text=True).stdout
    faults, member, members = [], "", 0
    for line in printed.splitlines():
        symbol = line.split()[-1].split("@")[0] if line.strip() else ""
        if line.endswith(":"):
            member, members = line[:-1], members + 1
        elif SYMBOLS.match(symbol) and "fork_mutex" not in member:
            faults.append(f"{member}: {symbol}")
    if members < 20:
        faults.append(f"{archive}: {members} objects: the test reads too little")
    return faults


def main() -> int:
    """Checks; prints what is wrong, or what there is."""
    faults, listed = check_sources()
    faults += check_itself() + check_symbols(sys.argv[1])
    if faults:
        print("\n".join(faults))
    else:
        print("\n".join(listed) if "--list" in sys.argv else f"{len(listed)} locks and waits, all known")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
