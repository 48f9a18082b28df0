"""`dreamlite bench` on an emulated phone in one go: `PYTHONPATH=tests:. python -m adb_device.bench [OPTIONS OF BENCH]`.

The tiny checkpoint is exported, a real adb server started, the phone plugged in. The times are those of this machine.
"""

import os
import sys
import tempfile
from pathlib import Path

from adb_device.phone import Phone
from adb_device.server import PORT_VARIABLE, adb_server, attached
from dreamlite_mobile.cli import main
from dreamlite_mobile.synthetic import make_checkpoint

METHOD = ("--runs", "8", "--rounds", "2", "--warm-up", "1", "--gate", "1.0")


def dreamlite(*arguments: object) -> int:
    """The command, in this process; its exit code."""
    sys.argv = ["dreamlite", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def bench(options: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="dreamlite-phone-") as name:
        folder = Path(name)
        checkpoint, bundle = make_checkpoint("tiny", 0, folder / "tiny-checkpoint"), folder / "tiny-bundle"
        code = dreamlite("export", checkpoint, "--out", bundle, "--size", 64)
        if code != 0:
            return code
        (folder / "home").mkdir()
        with adb_server(folder / "home") as adb, attached(adb, Phone(folder / "phone", capacity=8 << 30)):
            os.environ[PORT_VARIABLE] = str(adb.port)
            return dreamlite("bench", bundle, *METHOD, *options)


if __name__ == "__main__":
    raise SystemExit(bench(sys.argv[1:]))
