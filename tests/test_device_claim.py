"""Two computers on one phone: the mark on the phone decides. Both are links to one emulated phone over real adb."""

import os
import time
from pathlib import Path

import pytest
from adb_device.phone import Phone

from dreamlite_mobile.device.claim import GONE_S, MARK, claimed
from dreamlite_mobile.device.errors import CommandError, PhoneBusyError
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.occupied import occupied
from dreamlite_mobile.device.places import ROOT


def mark(phone: Phone) -> Path:
    return phone.storage.host(MARK)


def test_the_second_computer_is_told_who_has_the_phone(link: Link, phone: Phone) -> None:
    with claimed(link):
        with pytest.raises(PhoneBusyError, match=r"\.\S+ benchmarks on it, last seen \d+ s ago. Wait for its end"):
            claimed(link).__enter__()
        assert len(list(mark(phone).iterdir())) == 1
    assert not phone.storage.host(ROOT).exists()
    with claimed(link):
        pass


@pytest.fixture(autouse=True)
def another_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link is one from a computer of its own, as its number says."""
    numbers = iter(range(1, 100))
    monkeypatch.setattr("uuid.getnode", lambda: next(numbers))


def test_a_process_of_ours_that_was_killed_is_forgotten_at_once(
    link: Link, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uuid.getnode", lambda: 7)
    killed = claimed(link)
    killed.__enter__()
    with claimed(link):
        assert len(list(mark(phone).iterdir())) == 1
    killed.__exit__(None, None, None)
    assert not phone.storage.host(ROOT).exists()


def left_behind(phone: Phone, seconds: float, name: str = "ann.desktop+5e+usb1+0a1b2c3d") -> None:
    """A mark that was last touched some time ago."""
    mark(phone).mkdir(parents=True)
    file = mark(phone) / name
    file.touch()
    os.utime(file, (time.time() - seconds,) * 2)


def test_a_computer_that_is_gone_is_forgotten(link: Link, phone: Phone) -> None:
    left_behind(phone, GONE_S + 5)
    with claimed(link):
        (file,) = mark(phone).iterdir()
        assert not file.name.startswith("ann")
    assert not phone.storage.host(ROOT).exists()


def test_a_mark_with_an_odd_name_is_not_put_into_a_shell(link: Link, phone: Phone) -> None:
    left_behind(phone, 0, "; rm -rf $HOME")
    with pytest.raises(PhoneBusyError, match="another computer benchmarks on it"), claimed(link):
        pass
    assert [file.name for file in mark(phone).iterdir()] == ["; rm -rf $HOME"]


def test_one_that_was_seen_lately_is_not(link: Link, phone: Phone) -> None:
    left_behind(phone, GONE_S - 20)
    with pytest.raises(PhoneBusyError, match=r"ann\.desktop benchmarks on it, last seen 1\d\d s ago"), occupied(link):
        pass
    assert [file.name for file in mark(phone).iterdir()] == ["ann.desktop+5e+usb1+0a1b2c3d"]


def test_the_mark_is_touched_while_it_is_held(link: Link, phone: Phone) -> None:
    with claimed(link, beat_s=0.05):
        (file,) = mark(phone).iterdir()
        os.utime(file, (0, 0))
        end = time.monotonic() + 10
        while file.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert file.stat().st_mtime > 0


def test_the_mark_of_another_is_left_alone_at_the_end(link: Link, phone: Phone) -> None:
    """As when this computer slept, was forgotten, and woke up."""
    with claimed(link):
        for file in mark(phone).iterdir():
            file.unlink()
        (mark(phone) / "ann.desktop+5e+usb1+0a1b2c3d").touch()
    assert [file.name for file in mark(phone).iterdir()] == ["ann.desktop+5e+usb1+0a1b2c3d"]


def test_a_phone_that_lets_nobody_write_is_said(link: Link, phone: Phone) -> None:
    phone.storage.host(ROOT).write_bytes(b"a file in its place")
    with pytest.raises(CommandError, match="busy cannot be made"), claimed(link):
        pass
