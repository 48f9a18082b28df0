"""Qualcomm's host compiler and HTP emulator, laid out as the SDK that executorch looks for.

Both come in the `onnxruntime-qnn` wheel; a full SDK of the user's own (`QNN_SDK_ROOT`) is used instead where it is set.
The dynamic loader reads LD_LIBRARY_PATH only when a process starts, so a process that was not started with it starts
itself once more.
"""

import importlib.metadata
import mmap
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.files import staged_folder

WHEEL = "onnxruntime-qnn"
PROVEN_WHEEL = "2.5.0"
FAILING_WHEELS = ("2.3", "2.4", "2.6", "2.7")
"""Releases whose compiler stops at device creation with "unknown custom config socModel 0"."""
HOST = "lib/x86_64-linux-clang"
"""Where an SDK keeps the libraries of an x86-64 Linux host."""
NEEDED = ("libQnnHtp.so", "libHtpPrepare.so", "libQnnSystem.so", "libQnnIr.so", "libQnnSaver.so")
BUILD = re.compile(rb"v(\d+\.\d+\.\d+\.\d{6,})")
RESTARTED = "DREAMLITE_QNN_RESTARTED"
INSTALL = f"pip install -c .ci/constraints.txt {WHEEL}=={PROVEN_WHEEL}"


@dataclass(frozen=True, slots=True)
class Sdk:
    """A usable SDK. `build`: QNN's build id, such as 2.49.40.260810104044; `origin`: the variable or wheel it is of."""

    root: Path
    build: str
    origin: str

    @property
    def libraries(self) -> Path:
        return self.root / HOST

    @property
    def version(self) -> str:
        """The first three numbers of the build id."""
        return ".".join(self.build.split(".")[:3])


def find_sdk() -> Sdk:
    """The SDK of `QNN_SDK_ROOT`, or the wheel's, laid out in the cache folder if it is not there yet.

    Raises:
        ExportError: neither is usable; the message says what is missing and what mends it.
    """
    named = os.environ.get("QNN_SDK_ROOT")
    if named and not _is_ours(Path(named)):
        return _sdk_at(Path(named), "QNN_SDK_ROOT", f"point QNN_SDK_ROOT at a QNN SDK, or unset it and {INSTALL}")
    return wheel_sdk()


def wheel_sdk() -> Sdk:
    """The wheel's libraries as links in a folder of the cache.

    Raises:
        ExportError: the wheel is missing, is one that fails, or lacks a library.
    """
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise ExportError(
            f"the Qualcomm compiler is not installed: {INSTALL}, or set QNN_SDK_ROOT to a QNN SDK"
        ) from None
    if any(wheel.version == bad or wheel.version.startswith(f"{bad}.") for bad in FAILING_WHEELS):
        raise ExportError(
            f"{WHEEL} {wheel.version}: its compiler fails at device creation (unknown custom config socModel 0), as do "
            f"all of {', '.join(FAILING_WHEELS)}; proven: {PROVEN_WHEEL}. {INSTALL}"
        )
    site = Path(str(wheel.locate_file("")))
    sources = sorted([*site.glob("onnxruntime_qnn/lib*.so"), *site.glob("onnxruntime_qnn.libs/*")])
    root = cache_folder() / f"qnn-{wheel.version}"
    if not _links_to(root / HOST, sources):
        root.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(root, replace=root.is_dir()) as folder:
            (folder / HOST).mkdir(parents=True)
            for source in sources:
                (folder / HOST / source.name).symlink_to(source)
    return _sdk_at(root, f"{WHEEL} {wheel.version}", f"install the wheel again: {INSTALL}")


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/dreamlite_mobile`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreamlite_mobile"


def environment(sdk: Sdk, current: Mapping[str, str]) -> dict[str, str]:
    """What must differ from the current environment for executorch to find and load the SDK; empty if nothing."""
    paths = [path for path in current.get("LD_LIBRARY_PATH", "").split(":") if path]
    wanted = {"QNN_SDK_ROOT": str(sdk.root)}
    if str(sdk.libraries) not in paths:
        wanted["LD_LIBRARY_PATH"] = ":".join([str(sdk.libraries), *paths])
    return {name: value for name, value in wanted.items() if current.get(name) != value}


def ready(say: Callable[[str], None] = lambda _: None) -> Sdk:
    """Make sure that this process was started with the SDK's environment; start it again, once, if it was not.

    Call it before torch or executorch are imported: everything done until then is done twice.

    Raises:
        ExportError: no usable SDK, or a restart that did not bring the environment.
    """
    sdk = find_sdk()
    missing = environment(sdk, os.environ)
    if missing and os.environ.get(RESTARTED):
        raise ExportError(
            f"{', '.join(missing)} did not survive starting again; set them yourself: "
            + " ".join(f"{name}={value}" for name, value in missing.items())
        )
    if missing:
        say(f"starting again with QNN {sdk.version} ({sdk.origin}) in LD_LIBRARY_PATH")
        restart(missing)
    return sdk


def restart(more: Mapping[str, str]) -> NoReturn:
    """Replace this process by the same command with more in its environment."""
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**os.environ, **more, RESTARTED: "1"})  # noqa: S606 - no shell wanted


@cache
def build_of(library: Path) -> str | None:
    """The build id that QNN's libraries carry, or None. Each library (98 MB) is searched once."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = BUILD.search(data)
        return found.group(1).decode() if found else None


def _sdk_at(root: Path, origin: str, mend: str) -> Sdk:
    missing = [name for name in NEEDED if not (root / HOST / name).is_file()]
    if missing:
        raise ExportError(f"{root} ({origin}): {HOST} lacks {', '.join(missing)}; {mend}")
    build = build_of(root / HOST / NEEDED[0])
    if build is None:
        raise ExportError(f"{root / HOST / NEEDED[0]} ({origin}): carries no QNN build id; {mend}")
    return Sdk(root, build, origin)


def _is_ours(root: Path) -> bool:
    """Whether a folder is one that `wheel_sdk` laid out, so that a restarted process checks it again."""
    return root.parent == cache_folder() and root.name.startswith("qnn-")


def _links_to(folder: Path, sources: list[Path]) -> bool:
    """Whether the folder holds a sound link to each source and nothing else."""
    found = {path.name: path.resolve() for path in folder.glob("*")} if folder.is_dir() else {}
    return found == {source.name: source.resolve() for source in sources} and bool(found)
