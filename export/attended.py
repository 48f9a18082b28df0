"""What a function yields in a process of its own: Ray ends the process whose cluster is lost, with no exception."""

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeVar

from dreamlite_mobile.errors import DreamLiteError
from dreamlite_mobile.processes import die_with
from dreamlite_mobile.progress import Tell

LEAVE_SECONDS = 10.0
"""For the process to take leave of the cluster before it is killed; the cluster then cleans up after it."""
T = TypeVar("T")
Kind = Literal["item", "said", "error", "fault", "end"]


class LostError(Exception):
    """The process ended in the middle, or had nothing left to go on with."""


def attended(run: Callable[[Tell], Iterator[T]], tell: Tell) -> Iterator[T]:
    """Items as they come; the process is gone when this ends, however it ends.

    Raises:
        DreamLiteError, OSError: what the function raised. LostError: it raised that or lost a connection, or its
            process died. RuntimeError: anything else that it raised, with its traceback.
    """
    context = multiprocessing.get_context("fork")
    answers, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(run, sender, os.getpid()), daemon=True)
    process.start()
    sender.close()
    try:
        yield from received(answers, tell)
    finally:
        stop(process)
        answers.close()


def received(answers: Connection, tell: Tell) -> Iterator[Any]:
    """What the process sends, until it says that this is all."""
    while True:
        try:
            kind, value = pickle.loads(answers.recv_bytes())  # noqa: S301 - our own child wrote it
        except (EOFError, OSError):  # it died, perhaps in the middle of a message
            raise LostError from None
        if kind == "error":
            raise value
        if kind == "fault":
            raise RuntimeError(f"in a process of its own:\n{value}")
        if kind == "end":
            return
        if kind == "said":
            tell(value)
        else:
            yield value


def work(run: Callable[[Tell], Iterator[Any]], sender: Connection, parent: int) -> None:
    """What the process does. Ctrl-C reaches the parent, which stops this one."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # not through a progress bar of the parent, whose lock another of its threads may have held
    sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)

    def send(kind: Kind, value: Any = None) -> None:
        sender.send_bytes(pickle.dumps((kind, value)))

    try:
        for item in run(lambda text: send("said", text)):
            send("item", item)
    except (LostError, ConnectionError):
        pass  # the pipe that closes says it
    except (DreamLiteError, OSError) as error:
        send("error", error)
    except Exception:  # a fault of ours, which is not to look like a lost cluster
        send("fault", traceback.format_exc())
    else:
        send("end")


def stop(process: BaseProcess) -> None:
    process.terminate()
    process.join(LEAVE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
