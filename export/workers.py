"""Jobs in processes of their own, as many at a time as cores and memory allow.

A job is forked: what this process holds (the weights) is shared with it, not sent. It dies with this process.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dreamlite_mobile.errors import DreamLiteError, ExportError
from dreamlite_mobile.measure import Cost, measured

LOOK_SECONDS = 0.5
"""Between two looks at what the workers hold."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux' prctl."""
SHARE_OF_FREE = 0.8
"""Of the memory that is free when the work begins: what workers may hold if nobody says."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """`run` gives something small that can be pickled; `size` is how much work it is, in any unit."""

    name: str
    size: float
    run: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers at a time, and the bytes that they may hold together."""

    workers: int
    memory: int

    @classmethod
    def of_machine(cls, workers: int | None = None, memory: int | None = None) -> "Limits":
        """What is not given is taken from this machine: its cores, four fifths of its free memory."""
        return cls(workers or len(os.sched_getaffinity(0)), memory or int(SHARE_OF_FREE * free_memory()))


@dataclass(frozen=True, slots=True)
class Finished:
    """A job's result and what it took."""

    name: str
    result: Any
    cost: Cost


@dataclass(slots=True)
class Worker:
    """A running job."""

    job: Job
    process: BaseProcess
    answer: Connection
    peak: int = 0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.answer.close()


def run_jobs(jobs: Sequence[Job], limits: Limits, tell: Tell = lambda _: None) -> Iterator[Finished]:
    """Results in the order in which they are ready; every worker is gone when this ends, however it ends.

    Workers that together hold more than they may: the youngest is stopped and begins again later.

    Raises:
        ExportError: a job that failed, was killed, or alone holds more than all may.
    """
    waiting, running, largest = list(jobs), list[Worker](), 0
    try:
        while waiting or running:
            held = sum(worker.peak for worker in running)
            while waiting and len(running) < limits.workers and (not running or held + largest <= limits.memory):
                running.append(started(waiting.pop(0)))
                held += largest
            wait([worker.answer for worker in running], timeout=LOOK_SECONDS)
            for worker in [worker for worker in running if worker.answer.poll()]:
                running.remove(worker)
                done = finished(worker)
                largest = max(largest, done.cost.peak_bytes)
                yield done
            over = within(running, limits)
            if over is not None:
                running.remove(over)
                over.stop()
                largest = max(largest, over.peak)
                waiting.insert(0, over.job)
                tell(f"{over.job.name}: waits, since together the workers held more than {limits.memory / 1e9:.1f} GB")
    finally:
        for worker in running:
            worker.stop()


def started(job: Job) -> Worker:
    """The job in a forked process."""
    context = multiprocessing.get_context("fork")
    answer, question = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(job, question, os.getpid()), name=job.name, daemon=True)
    process.start()
    question.close()
    return Worker(job, process, answer)


def work(job: Job, answer: Connection, parent: int) -> None:
    """What the forked process does: the job with one thread, then its result or what went wrong."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    try:
        with measured() as cost:
            result = job.run()
    except DreamLiteError as error:
        answer.send((str(error), None, cost))
    except OSError as error:
        answer.send((f"{job.name}: {error}", None, cost))
    else:
        answer.send((None, result, cost))


def finished(worker: Worker) -> Finished:
    """What a worker answered.

    Raises:
        ExportError: it says so, or it died.
    """
    try:
        problem, result, cost = worker.answer.recv()
    except EOFError:
        worker.process.join()
        raise ExportError(
            f"{worker.job.name}: its process ended with {worker.process.exitcode} and no answer; killed for lack of "
            "memory if that is -9. Allow fewer at a time (--jobs 1), or cut into more shards (--shards)."
        ) from None
    worker.process.join()
    worker.answer.close()
    if problem is not None:
        raise ExportError(problem)
    return Finished(worker.job.name, result, cost)


def within(running: Sequence[Worker], limits: Limits) -> Worker | None:
    """The youngest worker if all hold too much together, after looking at each.

    Raises:
        ExportError: a single one does.
    """
    now = 0
    for worker in running:
        held = held_bytes(worker.process.pid)
        worker.peak = max(worker.peak, held)
        now += held
    if now <= limits.memory:
        return None
    if len(running) == 1:
        raise ExportError(
            f"{running[0].job.name}: holds {now / 1e9:.1f} GB while it is compiled, allowed are "
            f"{limits.memory / 1e9:.1f}; cut into more shards (--shards), or allow more (--memory-gb)"
        )
    return running[-1]


def held_bytes(pid: int | None) -> int:
    """What a process holds, its share of what it has in common with others; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def free_memory() -> int:
    """Bytes that the system can still give."""
    text = Path("/proc/meminfo").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:"))


@dataclass(slots=True)
class Remaining:
    """Time left, from the sizes and seconds of what is done."""

    sizes: dict[str, float]
    workers: int
    begin: float = 0.0
    done: float = 0.0

    def __post_init__(self) -> None:
        self.begin = time.perf_counter()

    def after(self, name: str) -> str:
        """What to say when that one is done."""
        self.done += self.sizes.pop(name)
        left = sum(self.sizes.values())
        if not left:
            return "the last one"
        seconds = (time.perf_counter() - self.begin) * left / self.done
        return (
            f"{len(self.sizes)} left, about {seconds / 60:.0f} min"
            if seconds > 90
            else (f"{len(self.sizes)} left, about {seconds:.0f} s")
        )
