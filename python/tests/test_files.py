# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Where zenwoq.torch.save writes: whole or not at all, onto links and special files, by many at once."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import threading
from pathlib import Path

import pytest
import torch
import zenwoq.torch
from conftest import random_packed
from zenwoq.torch import _files


def model_of(value: int) -> torch.nn.Module:
    """A model that is known by one of its numbers."""
    model = torch.nn.Sequential(zenwoq.torch.Linear(random_packed(64, 64)))
    model.register_buffer("value", torch.full((1000,), value))
    return model


def value_in(path: Path) -> int:
    model = zenwoq.torch.load(model_of(-1), path)
    assert bool((model.value == model.value[0]).all())
    return int(model.value[0])


@pytest.fixture
def path(tmp_path) -> Path:
    """A file that holds the model 1, alone in its folder."""
    zenwoq.torch.save(model_of(1), tmp_path / "model.st")
    return tmp_path / "model.st"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_mode_is_kept(path, mode):
    path.chmod(mode)
    zenwoq.torch.save(model_of(2), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode and value_in(path) == 2


def test_owner_and_group_are_kept_each_if_it_can_be(path, monkeypatch):
    asked = []

    def refuse_owner(file: int, user: int, group: int) -> None:
        asked.append((user, group, stat.S_IMODE(os.fstat(file).st_mode)))
        if user != -1:
            raise OSError(errno.EINVAL, "no such user here")

    path.chmod(0o644)
    old = path.stat()
    monkeypatch.setattr(os, "fchown", refuse_owner)
    before = os.umask(0)
    try:
        zenwoq.torch.save(model_of(2), path)
    finally:
        os.umask(before)
    # until all is set, nobody else may read what may be a secret
    assert sorted(asked) == sorted([(-1, old.st_gid, 0o600), (old.st_uid, -1, 0o600)]) and value_in(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        zenwoq.torch.save(model_of(1), tmp_path / "model.st")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.st").stat().st_mode) == 0o640


def test_links_are_followed(path):
    folder = path.parent / "else"
    folder.mkdir()
    (folder / "link").symlink_to("../model.st")
    (folder / "second").symlink_to(folder / "link")
    (folder / "dangling").symlink_to("new.st")
    (folder / "loop").symlink_to("loop")
    zenwoq.torch.save(model_of(2), folder / "second")
    assert (folder / "second").is_symlink() and (folder / "link").is_symlink() and value_in(path) == 2
    zenwoq.torch.save(model_of(3), folder / "dangling")
    assert (folder / "dangling").is_symlink() and value_in(folder / "new.st") == 3
    with pytest.raises(OSError, match="loop"):
        zenwoq.torch.save(model_of(4), folder / "loop")
    assert sorted(os.listdir(folder)) == ["dangling", "link", "loop", "new.st", "second"]


def test_special_files_are_written_straight(path):
    pipe = path.parent / "pipe"
    os.mkfifo(pipe)
    parts = []
    reader = threading.Thread(target=lambda: parts.append(pipe.read_bytes()))
    reader.start()
    zenwoq.torch.save(model_of(1), pipe)
    reader.join()
    assert parts == [path.read_bytes()] and stat.S_ISFIFO(pipe.stat().st_mode)
    (path.parent / "null").symlink_to("/dev/null")
    zenwoq.torch.save(model_of(1), path.parent / "null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and (path.parent / "null").is_symlink()
    with pytest.raises(OSError, match="No space left"):
        zenwoq.torch.save(model_of(1), "/dev/full")
    with pytest.raises(IsADirectoryError):
        zenwoq.torch.save(model_of(1), path.parent)
    with pytest.raises(FileNotFoundError):
        zenwoq.torch.save(model_of(1), path.parent / "nowhere" / "model.st")


def test_an_open_file_without_a_name_is_written_straight(path):
    with open(path.parent / "gone", "wb+") as file:
        (path.parent / "gone").unlink()
        zenwoq.torch.save(model_of(1), f"/proc/self/fd/{file.fileno()}")
        assert file.read() == path.read_bytes()
    assert os.listdir(path.parent) == ["model.st"]


def test_any_name_that_a_file_may_have(tmp_path):
    long = tmp_path / ("x" * 255)
    zenwoq.torch.save(model_of(5), long)
    assert value_in(long) == 5
    zenwoq.torch.save(model_of(6), os.fsencode(long))
    assert value_in(long) == 6 and len(os.listdir(tmp_path)) == 1


def test_a_read_only_file_is_not_replaced(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write all
    with pytest.raises(PermissionError):
        zenwoq.torch.save(model_of(2), path)
    assert value_in(path) == 1


def test_a_full_disk_leaves_the_old_file(path):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            zenwoq.torch.save(model_of(2), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert value_in(path) == 1 and os.listdir(path.parent) == ["model.st"]


def test_it_is_on_the_disk_before_the_old_file_goes(path, monkeypatch):
    done = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name, function in real.items():

        def noted(*arguments: object, name: str = name, function: object = function) -> object:
            done.append(name)
            return function(*arguments)

        monkeypatch.setattr(os, name, noted)
    zenwoq.torch.save(model_of(2), path)
    assert done == ["fsync", "replace", "fsync"]  # the file, then its place, then the folder
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk is gone")))
    with pytest.raises(OSError, match="disk is gone"):
        zenwoq.torch.save(model_of(3), path)
    assert value_in(path) == 2 and os.listdir(path.parent) == ["model.st"]


def test_many_savers_of_one_path(path):
    errors = []

    def save(value: int) -> None:
        try:
            for _ in range(10):
                zenwoq.torch.save(model_of(value), path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(value,)) for value in range(2, 6)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(value_in(path))
    for thread in threads:
        thread.join()
    assert not errors and seen <= set(range(1, 6)) and os.listdir(path.parent) == ["model.st"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_is_replaced_between_two_looks_is_still_written_whole(path, linked, monkeypatch):
    written = path
    if linked:
        written = path.parent / "link.st"
        written.symlink_to(path.name)
    same, looks = os.path.samefile, []

    def replaced_between(a: str, b: str) -> bool:
        looks.append(a)
        return len(looks) > 3 and same(a, b)

    monkeypatch.setattr(os.path, "samefile", replaced_between)
    old = path.stat().st_ino
    zenwoq.torch.save(model_of(2), written)
    assert path.stat().st_ino != old and value_in(path) == 2 and len(looks) == (4 if linked else 0)


def test_nothing_is_left_of_a_write_that_raises(path):
    with pytest.raises(KeyboardInterrupt), _files.whole_file(path) as file:
        file.write(b"half of it")
        raise KeyboardInterrupt
    assert value_in(path) == 1 and os.listdir(path.parent) == ["model.st"]


def test_a_model_may_be_saved_over_the_file_that_it_is_mapped_from(path):
    model = zenwoq.torch.load(model_of(-1), path, mmap=True)
    zenwoq.torch.save(model, path)
    assert int(model.value[0]) == 1 and value_in(path) == 1
