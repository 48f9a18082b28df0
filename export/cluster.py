"""The tasks of a matrix on Ray: a cluster of this machine's cores, or one that is there. Only this file imports ray.

Placement is by memory: a task asks for what it is expected to hold, and no more are in flight than all may hold
together. A cluster that is there is left as it was: it runs on, and holds nothing of a run that ended.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dreamlite_mobile.errors import ConfigError, ExportError
from dreamlite_mobile.progress import Tell
from export.attended import LostError, attended
from export.graph import Task, alone
from export.memory import free_memory, shown, tree_bytes
from export.nodes import Room, check_nodes, differences, installed, room_of
from export.workers import HEADROOM, SHARE_OF_FREE

LOOK_SECONDS = 0.5
"""Between two looks at what all processes hold; a look walks through each of them."""
STORE_BYTES = 80_000_000
"""Ray's shared memory, which results of a few hundred bytes go through: about the least that Ray takes."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",  # containers have a small /dev/shm
    "RAY_worker_niceness": "0",  # 15 by default: workers would starve beside any other load
}
CONNECT_SECONDS = 5.0
NODE_SECONDS = 60.0
"""For a node to come, where those that could take a task have all left."""
HEAD_SECONDS = 15.0
"""For a head that does not answer to come back. Ray itself waits a minute, in calls that do not return."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where tasks run: workers and memory of this machine, or the address of a cluster, whose nodes have their own."""

    jobs: int
    max_memory: int | None = None
    address: str | None = None
    retries: int = 2


@dataclass(slots=True)
class Done:
    """How a task ended, after how many attempts."""

    task: Task
    attempts: int
    result: dict[str, Any]

    @property
    def problem(self) -> str | None:
        """Why it could not be done."""
        found: str | None = self.result.get("problem")
        return found


def run_tasks(tasks: Mapping[str, Task], place: Place, tell: Tell) -> Iterator[Done]:
    """Every task once those it needs are done; one that fails takes only those with it that need it.

    Raises:
        ConfigError: no ray, no cluster at the address, or nodes that cannot take part. ExportError: a ceiling that Ray
            itself does not fit in, or a cluster that went away.
    """
    if place.address is None:
        with cluster(place) as (ray, memory):
            yield from Run(ray, dict(tasks), place, memory, tell).all()
        return
    ended = 0
    try:
        for done in attended(partial(on_nodes, tasks, place, place.address), tell):
            ended += 1
            yield done
    except LostError as error:
        raise ExportError(
            f"--address {place.address}: the cluster went away (its head, or Ray on this machine) after {ended} of "
            f"{len(tasks)} tasks; what they made is kept: start the cluster and give the same command again"
        ) from error


def on_nodes(tasks: Mapping[str, Task], place: Place, address: str, tell: Tell) -> Iterator[Done]:
    """The same on a cluster, where losing it may end this process."""
    with cluster(place) as (ray, memory):
        head = ray.get_runtime_context().gcs_address
        threading.Thread(target=end_with, args=(head,), daemon=True).start()
        try:
            check_nodes(ray, address, tasks.values())
            yield from Run(ray, dict(tasks), place, memory, tell).all()
        except ray.exceptions.RayError as error:
            raise LostError from error


def end_with(head: str) -> None:
    """End this process when nobody answers at that address for a while."""
    answered = time.monotonic()
    while time.monotonic() - answered < HEAD_SECONDS:
        time.sleep(LOOK_SECONDS)
        with contextlib.suppress(OSError):
            connect(head)
            answered = time.monotonic()
    os._exit(1)


def connect(address: str) -> None:
    """OSError where nobody answers at HOST:PORT."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextlib.contextmanager
def cluster(place: Place) -> Iterator[tuple[Any, int | None]]:
    """Ray, and the bytes that tasks may hold together, unless that is for the nodes to say."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ConfigError("export-matrix needs ray: pip install 'dreamlite_mobile[matrix]'") from error
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray prints on stdout that a worker died
    with contextlib.redirect_stdout(sys.stderr):
        if place.address is not None:
            check_address(place.address)
            try:
                ray.init(address=place.address, **quiet)
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise ConfigError(f"--address {place.address}: {error}") from error
        else:
            memory = place.max_memory or int(SHARE_OF_FREE * free_memory())
            ray.init(
                address="local",
                num_cpus=place.jobs,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                _memory=memory,
                **quiet,
            )
        try:
            yield ray, room(place)
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """Refuse (ConfigError) a place where nobody answers, for which Ray waits for minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ConfigError(f"--address {address}: expected HOST:PORT of a cluster's head (`ray start --head`), or auto")
    try:
        connect(address)
    except OSError as error:
        raise ConfigError(
            f"--address {address}: no cluster answers: {error}; start one with `ray start --head`"
        ) from error


def room(place: Place) -> int | None:
    """Bytes that tasks may hold: of a ceiling, what this process and Ray's own leave.

    Raises:
        ExportError: nothing.
    """
    if place.max_memory is None:
        return None
    own = tree_bytes(os.getpid())
    left = place.max_memory - own - HEADROOM
    if left <= 0:
        raise ExportError(
            f"--max-memory {shown(place.max_memory)}: the matrix and Ray alone hold {shown(own)}; allow at least "
            f"{shown(2 * own)}"
        )
    return left


@dataclass(slots=True)
class Run:
    """The tasks that wait, those in flight (youngest last) and those that ended.

    `memory`: what tasks may hold together, or None: what the nodes have. `asked`: the memory that each in flight was
    sent with. `stopped`: those in flight that were stopped for their memory, and why that is the end of it, or None.
    `bare_since`: when the last node left that could take a task.
    """

    ray: Any
    waiting: dict[str, Task]
    place: Place
    memory: int | None
    tell: Tell
    flying: dict[Any, Task] = field(default_factory=dict)
    asked: dict[Any, int] = field(default_factory=dict)
    stopped: dict[Any, str | None] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    ended: dict[str, Done] = field(default_factory=dict)
    bare_since: float | None = None

    def all(self) -> Iterator[Done]:
        """Tasks as they end."""
        remote = self.ray.remote(max_calls=1, max_retries=0)(in_worker)
        while self.waiting or self.flying:
            yield from self.give_up()
            found = self.room()
            if found is not None:
                self.call_back(found)
                self.start(remote, found)
            elif not self.flying:
                time.sleep(LOOK_SECONDS)
            ready, _ = self.ray.wait(list(self.flying), timeout=LOOK_SECONDS) if self.flying else ((), ())
            for reference in ready:
                done = self.result(reference)
                if done is not None:
                    self.ended[done.task.key] = done
                    yield done
            self.keep_ceiling()

    def room(self) -> Room | None:
        """What the nodes have, or None while a run that has begun waits for one to come back."""
        try:
            found = room_of(self.ray)
        except ExportError:
            now = time.monotonic()
            self.bare_since = self.bare_since or now
            if not self.attempts or now - self.bare_since > NODE_SECONDS:
                raise
            return None
        self.bare_since = None
        return found

    def give_up(self) -> Iterator[Done]:
        """Tasks that need one that failed."""
        for key, task in list(self.waiting.items()):
            failed = [self.ended[need] for need in task.needs if need in self.ended and self.ended[need].problem]
            if failed:
                del self.waiting[key]
                said = "; ".join(f"{one.task.name}: {one.problem}" for one in failed)
                self.ended[key] = Done(task, 0, {"problem": said})
                yield self.ended[key]

    def call_back(self, found: Room) -> None:
        """Stop tasks that ask for more than any node has since one left, and would wait for ever. Sent anew."""
        for reference in self.flying:
            if self.asked[reference] > found.largest and reference not in self.stopped:
                self.stopped[reference] = None
                self.ray.cancel(reference)

    def start(self, remote: Any, found: Room) -> None:
        """Send what can be done, as far as cores and memory go; the first goes however much it asks for."""
        memory, expected = found.memory if self.memory is None else self.memory, installed()
        for key, task in list(self.waiting.items()):
            if not all(need in self.ended for need in task.needs):
                continue
            held = sum(other.memory for other in self.flying.values())
            if self.flying and (len(self.flying) >= found.cores or held + task.memory > memory):
                break
            del self.waiting[key]
            self.attempts[key] = self.attempts.get(key, 0) + 1
            asked = min(task.memory, found.largest)
            reference = remote.options(num_cpus=1, memory=asked, name=task.name).remote(task, expected)
            self.flying[reference], self.asked[reference] = task, asked

    def result(self, reference: Any) -> Done | None:
        """How a task ended; None for one whose worker died and that begins again."""
        task = self.flying.pop(reference)
        del self.asked[reference]
        attempts = self.attempts[task.key]
        errors = self.ray.exceptions
        try:
            return Done(task, attempts, self.ray.get(reference))
        except errors.RayTaskError as error:  # a fault of ours: it would come again
            return Done(task, attempts, {"problem": str(error.cause) or repr(error.cause)})
        except errors.RayError as error:
            reason = type(error).__name__
        if reference in self.stopped:
            problem = self.stopped.pop(reference)
            if problem is not None:
                return Done(task, attempts, {"problem": problem})
            self.attempts[task.key] -= 1
            self.waiting = {task.key: task if self.memory is None else alone(task, self.memory)} | self.waiting
        elif attempts <= self.place.retries:
            self.tell(f"{task.name}: its worker died ({reason}); attempt {attempts + 1} of {self.place.retries + 1}")
            self.waiting = {task.key: task} | self.waiting
        else:
            return Done(
                task, attempts, {"problem": f"its worker died {attempts} times, at last of {reason} (--retries)"}
            )
        return None

    def keep_ceiling(self) -> None:
        """Stop the youngest task where all hold too much; it begins again alone, and fails if it was alone."""
        ceiling = self.place.max_memory
        left = [reference for reference in self.flying if reference not in self.stopped]
        if ceiling is None or not left or (held := tree_bytes(os.getpid())) <= ceiling - HEADROOM:
            return
        youngest = self.flying[left[-1]]
        if len(self.flying) > 1:
            self.stopped[left[-1]] = None
            self.tell(f"{youngest.name}: waits, since together the workers held more than {shown(ceiling)} allows")
        else:
            mend = "allow more (--max-memory), or take smaller sizes"
            self.stopped[left[-1]] = f"with Ray and this process it holds {shown(held)} and grows; {mend}"
        self.ray.cancel(left[-1], force=True)


def in_worker(task: Task, expected: Mapping[str, str]) -> dict[str, Any]:
    """A task, where its node has the same install: one that joined since the nodes were checked may not."""
    import torch

    if found := differences(installed(), expected):
        return {"problem": f"{socket.gethostname()}: {'; '.join(found)}; install the same on every node"}
    torch.set_num_threads(1)
    return task.run()
