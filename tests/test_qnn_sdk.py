"""The Qualcomm compiler is found, laid out and loaded; what cannot work is refused with its mend."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamlite_mobile.errors import ExportError
from export import qnn_sdk
from export.qnn_sdk import HOST, NEEDED, PROVEN_WHEEL, environment, find_sdk, wheel_sdk
from export.targets import COMPILER_QNN

pytestmark = pytest.mark.qnn


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No SDK named, and a cache of this test's own."""
    for name in ("QNN_SDK_ROOT", "LD_LIBRARY_PATH", qnn_sdk.RESTARTED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def own_sdk(root: Path, build: str = "v2.50.0.261001000000_1", lacking: tuple[str, ...] = ()) -> Path:
    """A folder that looks like an SDK."""
    (root / HOST).mkdir(parents=True)
    for name in set(NEEDED) - set(lacking):
        (root / HOST / name).write_bytes(b"\x7fELF...\0" + build.encode() + b"\0...")
    return root


def pretend(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """The installed wheel with another version."""
    real = importlib.metadata.distribution("onnxruntime-qnn")

    class Wheel:
        locate_file = staticmethod(real.locate_file)

    Wheel.version = version
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Wheel)


def test_the_wheel_is_laid_out_once() -> None:
    sdk = find_sdk()
    assert sdk.version == COMPILER_QNN
    assert sdk.origin == f"onnxruntime-qnn {PROVEN_WHEEL}"
    assert all((sdk.libraries / name).is_file() for name in NEEDED)
    assert any(path.name.startswith("libc++-") for path in sdk.libraries.iterdir())
    before = sdk.libraries.stat().st_ino
    assert find_sdk() == sdk
    assert sdk.libraries.stat().st_ino == before


def test_a_broken_layout_is_made_again() -> None:
    sdk = find_sdk()
    (sdk.libraries / "libQnnHtp.so").unlink()
    (sdk.libraries / "libQnnIr.so").unlink()
    (sdk.libraries / "libQnnIr.so").symlink_to("/nowhere")
    assert find_sdk() == sdk
    assert (sdk.libraries / "libQnnHtp.so").is_file() and (sdk.libraries / "libQnnIr.so").is_file()


def test_the_users_sdk_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(own_sdk(tmp_path / "sdk")))
    sdk = find_sdk()
    assert (sdk.root, sdk.build, sdk.version, sdk.origin) == (
        tmp_path / "sdk",
        "2.50.0.261001000000",
        "2.50.0",
        "QNN_SDK_ROOT",
    )


@pytest.mark.parametrize("version", ["2.3.0", "2.4.0", "2.6.0", "2.7.0", "2.7.1"])
def test_failing_wheels_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, version)
    with pytest.raises(ExportError, match=rf"onnxruntime-qnn {version}.*socModel 0.*proven: 2\.5\.0.*pip install"):
        wheel_sdk()


def test_other_wheels_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "2.30.0")
    assert wheel_sdk().origin == "onnxruntime-qnn 2.30.0"


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnn_sdk, "WHEEL", "onnxruntime-qnn-that-is-not-there")
    with pytest.raises(ExportError, match=r"not installed: pip install .* or set QNN_SDK_ROOT"):
        find_sdk()


@pytest.mark.parametrize("root", ["nowhere", "empty"])
def test_an_sdk_without_libraries_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: str) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path / root))
    with pytest.raises(
        ExportError, match=rf"{root} \(QNN_SDK_ROOT\): lib/x86_64-linux-clang lacks libQnnHtp.so, .*unset"
    ):
        find_sdk()


def test_one_missing_library_is_named_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(own_sdk(tmp_path / "sdk", lacking=("libQnnIr.so",))))
    with pytest.raises(ExportError, match=r"lacks libQnnIr\.so; "):
        find_sdk()


def test_an_sdk_without_a_build_id_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(own_sdk(tmp_path / "sdk", build="no id")))
    with pytest.raises(ExportError, match="carries no QNN build id"):
        find_sdk()


def test_the_environment_keeps_what_was_there() -> None:
    sdk = find_sdk()
    more = environment(sdk, {"LD_LIBRARY_PATH": "/usr/local/lib:"})
    assert more == {"QNN_SDK_ROOT": str(sdk.root), "LD_LIBRARY_PATH": f"{sdk.libraries}:/usr/local/lib"}
    assert environment(sdk, more) == {}


SCRIPT = """
import json, os, sys
from export.qnn_sdk import ready
sdk = ready(lambda text: print(text, file=sys.stderr))
import ctypes
ctypes.CDLL("libQnnHtp.so")
print(json.dumps([sys.argv[1:], sdk.build, os.environ["QNN_SDK_ROOT"]]))
"""


def start(tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, tmp_path / "script.py", "two words", "--flag"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(qnn_sdk.__file__).parents[1]), **more},
        check=False,
        timeout=120,
    )


def test_a_process_starts_itself_again_once_and_then_finds_the_libraries(tmp_path: Path) -> None:
    done = start(tmp_path)
    arguments, build, root = json.loads(done.stdout.splitlines()[-1])  # the library itself prints before
    assert arguments == ["two words", "--flag"]
    assert build.startswith(f"{COMPILER_QNN}.") and Path(root) == find_sdk().root
    assert done.stderr.count("starting again with QNN") == 1


def test_a_process_with_the_environment_does_not_start_again(tmp_path: Path) -> None:
    done = start(tmp_path, **environment(find_sdk(), {}))
    assert done.returncode == 0 and "starting again" not in done.stderr


def test_a_restart_that_does_not_help_is_an_error_not_a_loop(tmp_path: Path) -> None:
    done = start(tmp_path, **{qnn_sdk.RESTARTED: "1"})
    assert done.returncode != 0 and "did not survive starting again" in done.stderr
