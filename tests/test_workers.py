"""Jobs in forked workers: limits, failures, and that none outlives its master. No compiler is needed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamlite_mobile.errors import ConfigError, ExportError
from export.memory import held_bytes
from export.workers import Job, Limits, Remaining, run_jobs

GIGABYTE = 1_000_000_000
ROOMY = Limits(2, 64 * GIGABYTE)


def job(name: str, run: Callable[[], object]) -> Job:
    return Job(name, 1.0, run)


def holding(folder: Path, name: str, seconds: float, megabytes: int = 0) -> Job:
    """A job that holds memory for a while and notes when it began and ended."""

    def run() -> float:
        begin = time.monotonic()
        held = os.urandom(1_000_000) * megabytes
        time.sleep(seconds)
        (folder / name).write_text(f"{begin} {time.monotonic()} {len(held)}")
        return begin

    return job(name, run)


def overlapping(folder: Path) -> int:
    """The most jobs that ran at a time."""
    times = [tuple(map(float, file.read_text().split()[:2])) for file in folder.iterdir()]
    return max(sum(begin <= at < end for begin, end in times) for at, _ in times)


def test_results_come_with_their_names_and_costs() -> None:
    found = {done.name: done for done in run_jobs([job("a", lambda: 3), job("b", lambda: "x")], ROOMY)}
    assert {name: done.result for name, done in found.items()} == {"a": 3, "b": "x"}
    assert all(done.cost.peak_bytes > 0 for done in found.values())


def test_no_more_run_at_a_time_than_allowed(tmp_path: Path) -> None:
    jobs = [holding(tmp_path, f"{index}", 0.4) for index in range(4)]
    assert len(list(run_jobs(jobs, ROOMY))) == 4
    assert overlapping(tmp_path) == 2


def test_workers_that_together_hold_too_much_run_in_turn(tmp_path: Path) -> None:
    """Each holds 500 MB of its own; two of them do not fit, so the younger is stopped and begins again."""
    said: list[str] = []
    jobs = [holding(tmp_path, f"{index}", 3.0, 500) for index in range(2)]
    limits = Limits(2, 900_000_000 + held_bytes(os.getpid()))
    assert len(list(run_jobs(jobs, limits, said.append))) == 2
    assert overlapping(tmp_path) == 1
    assert [text.split(":")[0] for text in said] == ["1"]


def test_a_single_job_over_the_cap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"big: with the exporter it holds .* GB and grows .* allowed are .*--max-memory"
    ):
        list(run_jobs([holding(tmp_path, "big", 5, 700)], Limits(2, 400_000_000 + held_bytes(os.getpid()))))
    assert not list(tmp_path.iterdir())


def test_what_a_job_refuses_is_said_and_the_others_are_stopped(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("no such thing")

    begin = time.monotonic()
    with pytest.raises(ConfigError, match="no such thing"):
        list(run_jobs([holding(tmp_path, "slow", 30), job("bad", refuse)], ROOMY))
    assert time.monotonic() - begin < 20 and not list(tmp_path.iterdir())


def test_a_killed_worker_is_named() -> None:
    with pytest.raises(ExportError, match=r"shard 2: its process ended with -9 and no answer.*--jobs 1"):
        list(run_jobs([job("shard 2", lambda: os.kill(os.getpid(), 9))], ROOMY))


def test_leaving_early_leaves_no_worker(tmp_path: Path) -> None:
    pids = tmp_path / "pid"

    def run() -> None:
        pids.write_text(str(os.getpid()))
        time.sleep(60)

    def quick() -> None:
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.05)

    results = run_jobs([job("slow", run), job("quick", quick)], ROOMY)
    next(results)
    results.close()
    assert not Path("/proc", pids.read_text()).exists()


def test_time_left_is_that_of_the_sizes() -> None:
    left = Remaining({"a": 1.0, "b": 3.0})
    left.begin -= 100
    assert left.after("a") == "1 left, about 5 min"
    assert left.after("b") == "the last one"
