"""What a bundle for a Snapdragon needs of the QNN here, whose emulator runs it."""

from pathlib import Path

from dreamlite_mobile.errors import BundleError


def check_qnn(bundle: Path, needed: str | None) -> None:
    """Refuse (BundleError) a bundle compiled by a newer QNN: its contexts do not load on an older one."""
    from export.qnn_sdk import find_sdk

    sdk = find_sdk()
    if needed is None or numbers(needed) > numbers(sdk.version):
        raise BundleError(
            f"{bundle}: compiled by QNN {needed}, here is {sdk.version} ({sdk.origin}); a context does not load on an "
            "older QNN. Export the bundle again, or point QNN_SDK_ROOT at a newer SDK."
        )


def numbers(version: str) -> tuple[int, ...]:
    """2.49.40 -> (2, 49, 40)."""
    return tuple(int(part) for part in version.split("."))
