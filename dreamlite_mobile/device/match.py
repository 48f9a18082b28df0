"""Whether a bundle is for a phone; if not, which command makes the right one."""

import shlex
from collections import Counter

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_schema import HtpEntry, Manifest
from dreamlite_mobile.components import size_text
from dreamlite_mobile.device.errors import WrongPhoneError
from dreamlite_mobile.device.facts import PhoneFacts

ABI = "arm64-v8a"


def check_phone(bundle: Bundle, phone: PhoneFacts) -> None:
    """Refuse a bundle that cannot run on the phone.

    Raises:
        WrongPhoneError: another platform, chip or emulator layout, with the export command that mends it.
    """
    manifest = bundle.manifest
    if ABI not in phone.abis:
        raise WrongPhoneError(
            f"{phone.title}: runs {', '.join(phone.abis) or 'no known ABI'}; the app and the runtimes need {ABI}."
        )
    if manifest.backend not in ("xnnpack", "qnn"):
        raise WrongPhoneError(
            f"{bundle.path}: made for {manifest.backend} ({manifest.target}), which Android does not run here. "
            f"Export one for this phone: {export_command(manifest, phone)}"
        )
    if manifest.htp is not None:
        check_chip(bundle, manifest.htp, phone)


def check_chip(bundle: Bundle, htp: HtpEntry, phone: PhoneFacts) -> None:
    """Refuse a bundle that was compiled for another Snapdragon."""
    from export.targets import TARGETS

    if phone.soc is None or phone.soc not in TARGETS:
        known = ", ".join(TARGETS)
        raise WrongPhoneError(
            f"{bundle.path}: compiled for {htp.soc}; {phone.title} is not among the chips that can be compiled for "
            f"({known}). Export one for its CPU: {export_command(bundle.manifest, phone)}"
        )
    if phone.soc != htp.soc:
        row = TARGETS[phone.soc]
        raise WrongPhoneError(
            f"{bundle.path}: compiled for {htp.soc}, but {phone.model} has {phone.soc} ({row.marketing}, read from "
            f"{phone.soc_from}). Export the right one: {export_command(bundle.manifest, phone)}"
        )


def export_command(manifest: Manifest, phone: PhoneFacts) -> str:
    """What makes a bundle like this one for the phone, as one line for a shell.

    The precision is named where the backend stays: others do not have the same ones.
    """
    from export.targets import TARGETS

    words = ["dreamlite", "export", manifest.checkpoint.source, "--out", f"bundle-{(phone.soc or 'cpu').lower()}"]
    if phone.soc is not None and phone.soc in TARGETS and manifest.backend == "qnn":
        words += ["--backend", "qnn", "--soc", phone.soc]
    else:
        words += ["--backend", "xnnpack"]
    if manifest.backend in words:
        words += ["--precision", precision_option(manifest)]
    for size in manifest.sizes:
        words += ["--size", size_text(size.sides)]
    return shlex.join([*words, "--modes", ",".join(manifest.modes)])


def precision_option(manifest: Manifest) -> str:
    """The precision of most components, then those that differ: `w8a16,vae_decoder=fp16`."""
    found = {name: part.precision for name, part in manifest.components.items()}
    usual = Counter(found.values()).most_common(1)[0][0]
    return ",".join([usual, *(f"{name}={one}" for name, one in found.items() if one != usual)])
