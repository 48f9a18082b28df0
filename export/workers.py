"""Jobs in processes of their own, as many at a time as cores and memory allow.

A job is forked: what this process holds (the weights) is shared with it, not sent. It dies with this process.
The ceiling is on this process and its workers together.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from dreamlite_mobile.errors import DreamLiteError, ExportError
from dreamlite_mobile.measure import Cost, measured
from dreamlite_mobile.processes import die_with
from dreamlite_mobile.progress import Tell, silent
from export.memory import free_memory, held_bytes, resident_bytes, shown

LOOK_SECONDS = 0.05
"""Between two looks at what the workers hold, if looking is quick."""
LONGEST_SECONDS = 0.5
"""Between two looks, however long one takes."""
LOOK_SHARE = 0.1
"""Of the time, spent on looking where that is possible: a look at gigabytes takes long, and stops who is looked at."""
EXACT_SECONDS = 5.0
"""Between two exact looks while what is resident, counted once for each process that has it, is below the ceiling."""
HEADROOM = 150_000_000
"""Below the ceiling, what may be allocated between two looks: workers are stopped when only this is left."""
SHARE_OF_FREE = 0.8
"""Of the memory that is free when the work begins: what workers may hold if nobody says."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """`run` gives something small that can be pickled; `size` is how much work it is, in any unit.

    `memory`: the bytes that it is expected to add, or 0: then as many as the largest so far. `mend`: what a user can do
    where it holds too much.
    """

    name: str
    size: float
    run: Callable[[], Any]
    memory: int = 0
    mend: str = "cut into more shards (--shards)"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers at a time, and the bytes that they and this process may hold together."""

    workers: int
    memory: int

    @classmethod
    def of_machine(cls, workers: int | None = None, memory: int | None = None) -> "Limits":
        """What is not given is taken from this machine: its cores, four fifths of its free memory."""
        cores = len(os.sched_getaffinity(0))
        return cls(workers or cores, memory or held_bytes(os.getpid()) + int(SHARE_OF_FREE * free_memory()))


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
    now: int = 0
    peak: int = 0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.answer.close()


def run_jobs(jobs: Sequence[Job], limits: Limits, tell: Tell = silent) -> Iterator[Finished]:
    """Results in the order in which they are ready; every worker is gone when this ends, however it ends.

    Workers that together hold more than they may: the youngest is stopped and begins again later.

    Raises:
        DreamLiteError, OSError: what a job met. ExportError: a job that was killed, or with this process alone holds
            more than all may.
    """
    check_room(limits)
    waiting, running, largest, pause = list(jobs), list[Worker](), 0, LOOK_SECONDS
    exact_at, changed = 0.0, True
    try:
        while waiting or running:
            if changed and waiting and len(running) < limits.workers:
                room = limits.memory - held_bytes(os.getpid())
                while waiting and len(running) < limits.workers and has_room(waiting[0], running, room, largest):
                    running.append(started(waiting.pop(0)))
            changed = False
            wait([worker.answer for worker in running], timeout=pause)
            for worker in [worker for worker in running if worker.answer.poll()]:
                running.remove(worker)
                done = finished(worker)
                largest, changed = max(largest, done.cost.peak_bytes), True
                yield done
            begin = time.perf_counter()
            if begin < exact_at and surely_within(running, limits):
                continue  # without an exact look
            over = within(running, limits)
            pause = min(LONGEST_SECONDS, max(LOOK_SECONDS, (time.perf_counter() - begin) / LOOK_SHARE))
            exact_at, changed = time.perf_counter() + EXACT_SECONDS, True
            if over is not None:
                running.remove(over)
                over.stop()
                waiting.insert(0, replace(over.job, memory=max(over.job.memory, over.peak)))
                tell(f"{over.job.name}: waits, since together the workers held more than {shown(limits.memory)} allows")
    finally:
        for worker in running:
            worker.stop()


def check_room(limits: Limits) -> None:
    """Refuse (ExportError) a ceiling that this process alone is at."""
    own = held_bytes(os.getpid())
    if own > limits.memory - HEADROOM:
        raise ExportError(
            f"--max-memory {shown(limits.memory)}: the exporter itself holds {shown(own)} before it lowers anything; "
            f"allow at least {shown(2 * own + HEADROOM)}"
        )


def has_room(job: Job, running: Sequence[Worker], memory: int, largest: int) -> bool:
    """Whether so much memory holds what runs, at its expected peak, and the job as well; the first always runs."""
    held = sum(max(worker.peak, worker.job.memory or largest) for worker in running)
    return not running or held + (job.memory or largest) <= memory - HEADROOM


def apart(name: str, run: Callable[[], T], limits: Limits) -> T:
    """What a function gives, run alone in a worker."""
    mend = "take a smaller --size"
    (done,) = run_jobs([Job(name, 1.0, run, mend=mend)], Limits(1, limits.memory))
    result: T = done.result
    return result


def run_told(jobs: Sequence[Job], limits: Limits, tell: Tell) -> Iterator[Finished]:
    """`run_jobs`, saying what is done and what is left."""
    left = Remaining({job.name: job.size for job in jobs})
    for done in run_jobs(jobs, limits, tell):
        tell(f"{done.name}: {done.cost.seconds:.0f} s, {shown(done.cost.peak_bytes)}; {left.after(done.name)}")
        yield done


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
    die_with(parent)
    gc.freeze()  # what was forked stays: looking through it again and again would copy it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    said: tuple[Exception | None, Any]
    try:
        with measured() as cost:
            said = (None, job.run())
    except (DreamLiteError, OSError) as error:
        said = (error, None)
    answer.send_bytes(
        pickle.dumps((*said, cost))
    )  # torch's own pickling would leave tensors in memory that dies with us


def finished(worker: Worker) -> Finished:
    """What a worker answered.

    Raises:
        DreamLiteError, OSError: it says so. ExportError: it died.
    """
    try:
        problem, result, cost = pickle.loads(worker.answer.recv_bytes())  # noqa: S301 - our own child wrote it
    except EOFError:
        worker.process.join()
        raise ExportError(
            f"{worker.job.name}: its process ended with {worker.process.exitcode} and no answer; killed for lack of "
            f"memory if that is -9. Allow fewer at a time (--jobs 1), or {worker.job.mend}."
        ) from None
    worker.process.join()
    worker.answer.close()
    if problem is not None:
        raise problem
    return Finished(worker.job.name, result, cost)


def surely_within(running: Sequence[Worker], limits: Limits) -> bool:
    """Whether all are below the ceiling even if nothing were shared, which is quickly told."""
    processes = (os.getpid(), *(worker.process.pid for worker in running))
    return sum(map(resident_bytes, processes)) <= limits.memory - HEADROOM


def within(running: Sequence[Worker], limits: Limits) -> Worker | None:
    """The youngest worker if all and this process hold too much, after looking at each.

    Raises:
        ExportError: a single one does.
    """
    if not running:
        return None
    own = held_bytes(os.getpid())
    for worker in running:
        worker.now = held_bytes(worker.process.pid)
        worker.peak = max(worker.peak, worker.now)
    held = own + sum(worker.now for worker in running)
    if held <= limits.memory - HEADROOM:
        return None
    if len(running) == 1:
        job = running[0].job
        raise ExportError(
            f"{job.name}: with the exporter it holds {shown(held)} and grows ({shown(own)} are the exporter's own), "
            f"allowed are {shown(limits.memory)}; {job.mend}, or allow more (--max-memory)"
        )
    return running[-1]


@dataclass(slots=True)
class Remaining:
    """Time left, from the sizes and seconds of what is done."""

    sizes: dict[str, float]
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
