"""All or nothing: what a failed, interrupted or killed writer leaves behind, and what sha256 says. Oracle: hashlib."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dreamlite_mobile.files
from dreamlite_mobile.errors import OutputError
from dreamlite_mobile.files import sha256_file, staged_folder, write_atomic


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out") as staging:
        (staging / "deep").mkdir()
        (staging / "deep" / "file").write_bytes(b"1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "deep" / "file").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staged_folder(tmp_path / "out") as staging:
        (staging / "file").write_bytes(b"1")
        raise error
    assert os.listdir(tmp_path) == []


def test_an_existing_target_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"1")
    with pytest.raises(OutputError, match="exists already"), staged_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "mine").read_bytes() == b"1"


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), staged_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_replace_swaps_and_removes_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    if not can_exchange:
        monkeypatch.setattr(dreamlite_mobile.files, "_exchange", lambda *_: False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"1")
    with staged_folder(tmp_path / "out", replace=True) as staging:
        (staging / "new").write_bytes(b"2")
        assert (tmp_path / "out" / "old").exists()
    assert os.listdir(tmp_path / "out") == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_failed_replacement_keeps_the_old(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"1")
    with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "out", replace=True):
        raise ValueError("stop")
    assert os.listdir(tmp_path / "out") == ["old"]


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path: Path) -> None:
    (tmp_path / ".out.old-1234").mkdir()
    (tmp_path / ".out.old-1234" / "old").write_bytes(b"1")
    with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "out", replace=True):
        raise ValueError("stop")
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["old"]


def test_a_link_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    with pytest.raises(OutputError, match="not a folder"), staged_folder(tmp_path / "out", replace=True):
        pass
    assert (tmp_path / "real").is_dir()


def test_the_leftovers_of_another_target_and_strangers_stay(tmp_path: Path) -> None:
    for name in (".other.part-1-aa", "out.part-1-aa", ".outer.part-1-aa"):
        (tmp_path / name).mkdir()
    with staged_folder(tmp_path / "out"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".other.part-1-aa", ".outer.part-1-aa", "out", "out.part-1-aa"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out") as first:
        with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "out"):
            raise ValueError("stop")
        assert first.is_dir()


def test_a_killed_writer_leaves_no_target_and_the_next_cleans_up(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from dreamlite_mobile.files import staged_folder\n"
        "with staged_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'half').write_bytes(b'1' * 1000); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "out"], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (leftover,) = os.listdir(tmp_path)
    assert leftover.startswith(".out.part-")
    with staged_folder(tmp_path / "out") as staging:
        assert os.listdir(tmp_path) == [staging.name]
    assert os.listdir(tmp_path) == ["out"]


def test_ctrl_c_in_a_process_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from dreamlite_mobile.files import staged_folder\n"
        "with staged_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'half').write_bytes(b'1' * 1000); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "out"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGINT)
    process.wait()
    process.stdout.close()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_an_output_error_that_leaves_nothing(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OutputError, match=f"out: cannot be written: {os.strerror(errno.EFBIG)}"):
            with staged_folder(tmp_path / "out") as staging:
                (staging / "file").write_bytes(b"1" * 2000)
        with pytest.raises(OutputError, match="picture.png: cannot be written"):
            write_atomic(tmp_path / "picture.png", b"1" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path) == []


def test_no_space_reported_by_any_writer_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)), staged_folder(tmp_path / "out"):
        Path("/dev/full").write_bytes(b"1")
    assert os.listdir(tmp_path) == []


def test_an_error_of_reading_elsewhere_keeps_its_meaning(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged_folder(tmp_path / "out"):
        (tmp_path / "absent").read_bytes()


@pytest.mark.parametrize("place", ["/proc/out", "/proc/self/out"])
def test_an_unwritable_place_is_an_output_error(place: str) -> None:
    with pytest.raises(OutputError, match=f"{place}: cannot be written"), staged_folder(Path(place)):
        pass
    with pytest.raises(OutputError, match=f"{place}: cannot be written"):
        write_atomic(Path(place), b"1")


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent does not exist"), staged_folder(tmp_path / "absent" / "out"):
        pass


def test_write_atomic_replaces_whole_files(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"first")
    write_atomic(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_onto_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / "file", b"1")
    assert os.listdir(tmp_path) == ["file"]


def test_sha256_of_pieces_equals_hashlib_and_tells_progress(tmp_path: Path) -> None:
    data = os.urandom((9 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    told: list[int] = []
    assert sha256_file(tmp_path / "file", told.append) == hashlib.sha256(data).hexdigest()
    assert sum(told) == len(data) and len(told) > 1


def test_racing_writers_leave_one_whole_file(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dreamlite_mobile.files import write_atomic\n"
        "for _ in range(40): write_atomic(Path(sys.argv[1]), sys.argv[2].encode() * 5000)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "file", name]) for name in "abc"]
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        if (tmp_path / "file").exists():
            data = (tmp_path / "file").read_bytes()
            assert len(data) == 5000 and len(set(data)) == 1
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["file"]
