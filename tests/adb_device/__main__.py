"""Serve one emulated phone until Ctrl-C: `PYTHONPATH=tests:. python -m adb_device`, then `adb connect` as it says."""

import tempfile
import threading
from pathlib import Path

from adb_device.phone import Phone

with (
    tempfile.TemporaryDirectory(prefix="dreamlite-phone-") as folder,
    Phone(Path(folder, "phone"), capacity=8 << 30).served() as serial,
):
    print(f"adb connect {serial}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("switched off")
