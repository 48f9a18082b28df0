"""What `dreamlite doctor` finds: versions, runtimes, what each backend lacks and the mend."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from dreamlite_mobile.errors import DreamLiteError

PINNED = {
    "torch": "2.13.0",
    "executorch": "1.5.1",
    "torchao": "0.18.0",
    "onnx": "1.23.2",
    "onnxruntime": "1.32.0",
    "coremltools": "9.0",
}
"""Versions proven together; `.ci/constraints.txt` gives the reasons and `tests/test_project.py` holds both equal."""

OPTIONAL = {
    "diffusers": "the published pipeline as oracle (parity --published): install the 'test' extra",
    "transformers": "the published pipeline as oracle (parity --published): install the 'test' extra",
}
MEMORY_FLOOR = 8e9
"""Bytes below which full-size exports will not fit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `mend` is None when all is well, else what to do or what is lost."""

    what: str
    found: str | None
    mend: str | None

    def as_json(self) -> dict[str, str | None]:
        return {"what": self.what, "found": self.found, "mend": self.mend}


def diagnose() -> list[Finding]:
    """Everything doctor prints."""
    return [python(), *map(pinned, PINNED), *map(optional, OPTIONAL), xnnpack(), qnn(), memory(), disk(), hub()]


def version(package: str) -> str | None:
    """Installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def python() -> Finding:
    return Finding("python", f"{platform.python_version()} on {platform.machine()}", None)


def pinned(package: str) -> Finding:
    """A package the toolkit cannot do without, at the version it was proven with."""
    found, wanted = version(package), PINNED[package]
    if found == wanted:
        return Finding(package, found, None)
    state = "missing" if found is None else "another version than the one proven"
    return Finding(package, found, f"{state}: pip install -c .ci/constraints.txt {package}=={wanted}")


def optional(package: str) -> Finding:
    """A package some feature needs."""
    found = version(package)
    return Finding(package, found, None if found else f"needed for {OPTIONAL[package]}")


def xnnpack() -> Finding:
    """Whether the ExecuTorch runtime here can run XNNPACK files."""
    if version("executorch") is None:
        return Finding("XNNPACK runtime", None, "install executorch")
    from executorch.runtime import Runtime

    names = Runtime.get().backend_registry.registered_backend_names
    if "XnnpackBackend" in names:
        return Finding("XNNPACK runtime", "registered", None)
    return Finding("XNNPACK runtime", None, "this executorch has no XnnpackBackend: install the official wheel")


def qnn() -> Finding:
    """Which Qualcomm compiler and HTP emulator would be used; no backend here writes HTP files yet."""
    from export.qnn_sdk import find_sdk

    try:
        sdk = find_sdk()
    except DreamLiteError as error:
        return Finding("QNN compiler", None, str(error))
    return Finding("QNN compiler", f"{sdk.version} (build {sdk.build}, {sdk.origin})", None)


def memory() -> Finding:
    """Physical memory, against what a full-size export takes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    small = "full-size exports will not fit; sizes up to the tiny checkpoint's will" if total < MEMORY_FLOOR else None
    return Finding("memory", f"{total / 1e9:.0f} GB, {os.cpu_count()} cores", small)


def disk() -> Finding:
    """Free space here."""
    free = shutil.disk_usage(Path.cwd()).free
    return Finding("free disk", f"{free / 1e9:.0f} GB", None if free > MEMORY_FLOOR else "less than a full-size bundle")


def hub() -> Finding:
    """Whether hub ids may be downloaded."""
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
    return Finding("hub", "offline (HF_HUB_OFFLINE)" if offline else "online", None)
