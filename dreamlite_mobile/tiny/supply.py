"""Training data that a second CPU core makes while the first one trains."""

import os
import pickle
import queue
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from dreamlite_mobile.processes import die_with

T = TypeVar("T")
WAITING = 4
"""Items that may wait to be taken."""


def supplied(make: Callable[[], Iterator[T]], device: torch.device) -> Iterator[T | None]:
    """The items of `make()`, made in a process of their own where a CPU core is free for it.

    Then None comes whenever no new item is ready, but never first. Else each item is made when it is asked for.
    """
    if device.type != "cpu" or len(os.sched_getaffinity(0)) < 2:
        yield from make()
        return
    context = get_context("fork")
    waiting = context.Queue(WAITING)
    maker = context.Process(target=_fill, args=(make, waiting, int(torch.randint(2**31, ())), os.getpid()), daemon=True)
    maker.start()
    try:
        first = None
        while first is None:
            first = _taken(waiting, maker, 1.0)
        yield first
        while True:
            yield _taken(waiting, maker, 0.0)
    finally:
        maker.kill()
        maker.join()


def _taken(waiting: Any, maker: Any, seconds: float) -> Any:
    """The next item, None if none comes in that time, or an error if its maker has ended."""
    try:
        return pickle.loads(waiting.get(timeout=seconds))  # noqa: S301 - written by our own fork
    except queue.Empty:
        if not maker.is_alive():
            raise RuntimeError(f"the process that makes training data ended with {maker.exitcode}") from None
        return None


def _fill(make: Callable[[], Iterator[T]], waiting: Any, seed: int, taker: int) -> None:
    """Runs in the other process, on one thread: a fork must not use its parent's. It dies with process `taker`.

    Bytes go through the queue: tensors would go as shared memory, a file descriptor each.
    """
    die_with(taker)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    for item in make():
        waiting.put(pickle.dumps(item))
