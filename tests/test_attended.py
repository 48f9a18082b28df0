"""A process that is attended: its items arrive, its refusals too, and so does that it died."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.progress import Tell, silent
from export.attended import LostError, attended


def test_items_and_what_is_said_arrive_in_order() -> None:
    def run(tell: Tell) -> Iterator[int]:
        for number in (1, 2):
            tell(f"before {number}")
            yield number
        tell("after")

    said: list[object] = []
    note = said.append
    for item in attended(run, note):
        note(item)
    assert said == ["before 1", 1, "before 2", 2, "after"]


def test_a_refusal_is_raised_here() -> None:
    def run(_tell: Tell) -> Iterator[int]:
        yield 1
        raise ConfigError("no such place")

    items = attended(run, silent)
    assert next(items) == 1
    with pytest.raises(ConfigError, match="no such place"):
        next(items)


def test_a_fault_is_no_loss_and_says_where_it_was() -> None:
    def run(_tell: Tell) -> Iterator[int]:
        yield 1
        raise KeyError("forgotten")

    items = attended(run, silent)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match=r"(?s)test_attended.*KeyError: 'forgotten'"):
        next(items)


def lose_a_connection() -> None:
    raise BrokenPipeError


@pytest.mark.parametrize("end", [lose_a_connection, lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_an_end_without_a_word_is_a_loss(end) -> None:
    """As Ray ends a process whose cluster is gone."""

    def run(_tell: Tell) -> Iterator[int]:
        yield 1
        end()

    items = attended(run, silent)
    assert next(items) == 1
    with pytest.raises(LostError):
        next(items)


def test_who_stops_listening_stops_the_process(tmp_path: Path) -> None:
    """By a signal that lets it take leave, as Ctrl-C here does."""
    left = tmp_path / "left"

    def run(_tell: Tell) -> Iterator[int]:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        try:
            yield os.getpid()
            time.sleep(60)
        finally:
            left.touch()

    items = attended(run, silent)
    process = next(items)
    items.close()  # type: ignore[attr-defined]
    assert left.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
