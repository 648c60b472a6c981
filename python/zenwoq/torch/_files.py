# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write, which takes its place when the block ends; if the block raises, nothing has changed.

    It is written beside its place under a name of its own and renamed once it is on the disk, so any number of threads
    and processes may write one path: one of them wins. What a symbolic link points to is replaced, not the link. The
    mode of an old file is kept, its owner and group each if this process may set it; ACLs and other attributes are not.
    A device or a pipe is written straight, since a file must not take its place.

    Raises:
        OSError: the file cannot be written: the folder is missing, the disk is full, the old file may not be written.
    """
    path = os.path.abspath(os.fsdecode(path))
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    target = os.path.realpath(path)
    if old and (stat.S_ISDIR(old.st_mode) or not os.access(path, os.W_OK)):
        code = errno.EISDIR if stat.S_ISDIR(old.st_mode) else errno.EACCES
        raise OSError(code, os.strerror(code), path)
    if old and not (stat.S_ISREG(old.st_mode) and _names(target, path)):
        with open(path, "wb") as file:
            yield file
        return
    folder = os.path.dirname(target)
    part = os.path.join(folder, f".zenwoq-{secrets.token_hex(8)}.part")
    file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if old else 0o666), "wb")
    try:
        with file:
            if old:
                for owner in ((-1, old.st_gid), (old.st_uid, -1)):
                    with contextlib.suppress(OSError):
                        os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    _sync_folder(folder)


def _names(target: str, path: str) -> bool:
    """Whether the path, without its links, is a place: what a link in /proc/self/fd leads to may be none.

    Such a file is written straight. Another saver may put a new file there between the two looks of one comparison,
    which says nothing about the links; so it takes more than one that differs.
    """
    return target == path or any(os.path.exists(target) and os.path.samefile(path, target) for _ in range(16))


def _sync_folder(folder: str) -> None:
    """Lets the new name survive a power failure, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
