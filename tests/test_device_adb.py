"""The emulated phone, judged by Debian's adb program: whatever that can do with it, a phone can do."""

import hashlib
from pathlib import Path

import pytest
from adb_device.phone import Phone
from adb_device.server import Adb

pytestmark = pytest.mark.usefixtures("link")


def test_a_shell_command_keeps_its_streams_and_exit_code(adb: Adb, phone: Phone) -> None:
    found = adb("-s", phone.serial, "shell", "echo one && cat /nowhere; echo two")
    assert (found.stdout, found.stderr) == ("one\ntwo\n", "cat: /nowhere: No such file or directory\n")
    assert adb("-s", phone.serial, "shell", "cat /nowhere").returncode == 1


def test_a_file_goes_there_and_back(adb: Adb, phone: Phone, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "a.bin").write_bytes(data)
    assert adb("-s", phone.serial, "push", tmp_path / "a.bin", "/data/local/tmp/x/a.bin").returncode == 0
    assert phone.storage.host("/data/local/tmp/x/a.bin").read_bytes() == data
    assert adb("-s", phone.serial, "pull", "/data/local/tmp/x/a.bin", tmp_path / "b.bin").returncode == 0
    assert (tmp_path / "b.bin").read_bytes() == data
    said = adb("-s", phone.serial, "shell", "sha256sum /data/local/tmp/x/a.bin").stdout
    assert said.split()[0] == hashlib.sha256(data).hexdigest()


def test_a_folder_is_listed(adb: Adb, phone: Phone) -> None:
    phone.storage.write("/data/local/tmp/one", b"123")
    found = adb("-s", phone.serial, "ls", "/data/local/tmp").stdout
    assert found.split()[1] == "00000003" and found.split()[3] == "one"


def test_a_full_phone_refuses_a_file(adb: Adb, phone: Phone, tmp_path: Path) -> None:
    phone.storage.capacity = phone.storage.used() + 1000
    (tmp_path / "a.bin").write_bytes(bytes(5000))
    found = adb("-s", phone.serial, "push", tmp_path / "a.bin", "/data/local/tmp/a.bin")
    assert found.returncode != 0 and "No space left" in found.stdout + found.stderr
    assert not phone.storage.host("/data/local/tmp/a.bin").exists()


def test_states_are_those_of_real_phones(adb: Adb, tmp_path: Path) -> None:
    with Phone(tmp_path / "other", authorised=False).served() as serial:
        adb("connect", serial)
        assert f"{serial}\tunauthorized" in adb("devices").stdout
        adb("disconnect", serial)
