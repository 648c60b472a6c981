# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Processes of one torch.distributed group, for tests of what they compute together."""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch

# What takes seconds to import: once, for all processes.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "torchao.quantization",
        "zenwoq.torch",
        "torch._dynamo",
        "torch.distributed.device_mesh",
        "transformers.generation.utils",
        "transformers.models.llama.modeling_llama",
    ]
)
TIMEOUT = 120  # seconds, of every wait for another process


def _run_worker(work: Callable, rank: int, size: int, port: int, arguments: tuple, pipe: Any) -> None:
    """Sends what work returns, or its traceback."""
    torch.set_num_threads(1)
    try:
        timeout = datetime.timedelta(seconds=TIMEOUT)
        store = torch.distributed.TCPStore("127.0.0.1", port, timeout=timeout)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)
        pipe.send_bytes(pickle.dumps((True, work(rank, size, *arguments))))
        store.wait(["finished"])
        torch.distributed.destroy_process_group()
    except BaseException:
        pipe.send_bytes(pickle.dumps((False, traceback.format_exc())))


@contextlib.contextmanager
def started(work: Callable, size: int, *arguments: object) -> Iterator[list]:
    """The processes of a group, each with the pipe that brings what work(rank, size, *arguments) returns."""
    # None of them ends while others may still need it, and the group's store is here, not in the first of them.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = []
    for rank in range(size):
        ours, theirs = PROCESSES.Pipe(duplex=False)
        given = (work, rank, size, store.port, arguments, theirs)
        process = PROCESSES.Process(target=_run_worker, args=given, daemon=True)
        process.start()
        theirs.close()
        group.append((process, ours))
    try:
        yield group
        store.set("finished", "")
    except BaseException:
        for process, _ in group:
            process.kill()
        raise
    finally:
        for process, _ in group:
            process.join()


def result_of(pipe: Any) -> Any:
    good, result = pickle.loads(pipe.recv_bytes())
    assert good, result
    return result


def in_processes(work: Callable, size: int, *arguments: object) -> list:
    """What work(rank, size, *arguments) returns in each process of a group."""
    with started(work, size, *arguments) as group:
        return [result_of(pipe) for _, pipe in group]
