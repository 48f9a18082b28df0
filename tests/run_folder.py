"""A folder that all processes of one test run share, for what is made once and used by many tests."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

VARIABLE = "DREAMLITE_TEST_RUN"


def run_folder() -> Path:
    """Made by the first process that asks, found in the environment by its children, removed when that process ends."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="dreamlite-test-")
        atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)
    return Path(os.environ[VARIABLE])


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A place in that folder, filled by whichever process comes first; the others wait for it."""
    place = run_folder() / name
    with FileLock(run_folder() / f"{name}.lock"):
        if not place.exists():
            make(place)
    return place
