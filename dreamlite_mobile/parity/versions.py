"""What is installed here and may matter to a number."""

import contextlib
import importlib.metadata
import platform

from dreamlite_mobile import __version__

TOOLS = ("torch", "executorch", "torchao", "onnx", "onnxruntime", "onnxruntime-qnn", "coremltools", "numpy")


def versions() -> dict[str, str]:
    """Name -> version of every tool that is installed, python and the kind of machine first."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "dreamlite_mobile": __version__}
    for name in TOOLS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
