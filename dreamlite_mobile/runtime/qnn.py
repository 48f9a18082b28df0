"""What a bundle for a Snapdragon needs of the QNN here, whose emulator runs it."""

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.errors import BundleError


def check_qnn(bundle: Bundle) -> None:
    """Refuse (BundleError) what the emulator cannot load: shared weights, or contexts of a newer QNN."""
    from export.qnn_sdk import find_sdk

    sdk, needed, htp = find_sdk(), bundle.manifest.needs.qnn, bundle.manifest.htp
    if htp is not None and htp.shared_weights:
        raise BundleError(
            f"{bundle.path}: its methods share their weights, which the phone wants and the emulator cannot load. "
            "Export it again with --emulator to run it here."
        )
    if needed is None or numbers(needed) > numbers(sdk.version):
        raise BundleError(
            f"{bundle.path}: compiled by QNN {needed}, here is {sdk.version} ({sdk.origin}); a context does not load "
            "on an older QNN. Export the bundle again, or point QNN_SDK_ROOT at a newer SDK."
        )


def numbers(version: str) -> tuple[int, ...]:
    """2.49.40 -> (2, 49, 40)."""
    return tuple(int(part) for part in version.split("."))
