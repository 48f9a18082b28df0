"""A second process makes what the first one trains on: items arrive, in order, and its death is told."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from dreamlite_mobile.tiny.supply import supplied

CPU = torch.device("cpu")


def counted(last: int = 10**9) -> Iterator[torch.Tensor]:
    for number in range(last):
        yield torch.tensor([number, os.getpid()])


def test_items_come_in_order_from_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    source = supplied(counted, CPU)
    first = next(source)
    assert first is not None
    found = [item for item in islice(source, 20_000) if item is not None]
    source.close()
    numbers = [int(item[0]) for item in [first, *found]]
    assert numbers == list(range(len(numbers)))
    assert {int(item[1]) for item in found} <= {int(first[1])} != {os.getpid()}


def test_one_core_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert [item.tolist() for item in islice(supplied(counted, CPU), 3)] == [[i, os.getpid()] for i in range(3)]


def test_a_maker_ends_with_who_takes(tmp_path: Path) -> None:
    """A trainer that is killed leaves no process behind."""
    script = tmp_path / "taker.py"
    script.write_text(
        "import os, sys\n"
        "os.sched_getaffinity = lambda _: {0, 1}\n"
        "from test_tiny_supply import CPU, counted\n"
        "from dreamlite_mobile.tiny.supply import supplied\n"
        "source = supplied(counted, CPU)\n"
        "print(int(next(source)[1]), flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    taker = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert taker.stdout is not None
    maker = int(taker.stdout.readline())
    assert is_running(maker)
    taker.kill()
    taker.wait()
    deadline = time.monotonic() + 30
    while is_running(maker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(maker)


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def large(count: int) -> Iterator[torch.Tensor]:
    """Items that no pipe holds at once, then an error."""
    for number in range(count):
        yield torch.full((250_000,), float(number))
    raise OSError("no more")


def test_all_that_was_made_comes_before_the_maker_s_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found: list[float] = []
    with pytest.raises(RuntimeError, match="ended with 1"):
        found.extend(float(item[0]) for item in supplied(lambda: large(3), CPU) if item is not None)
    assert found == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("last", [0, 1])
def test_a_maker_that_ended_is_told(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(RuntimeError, match="ended with 0"):
        for _ in supplied(lambda: counted(last), CPU):
            pass
