"""What `dreamlite bench` is given, checked before anything is pushed: bundles, prompts, options, places to write to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamlite_mobile.cli.pictures import open_checked
from dreamlite_mobile.cli.shared import chosen_size, labels, notice
from dreamlite_mobile.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from PIL import Image

    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.bundle_fields import Mode
    from dreamlite_mobile.device.bench import Reference
    from dreamlite_mobile.device.report import Method


def check_runner(
    runner: Path | None, gate: float | None, checkpoint: str | None, picture: Path | None, sustained: float | None
) -> None:
    """Refuse (ConfigError) options that mean nothing for components alone."""
    whole = {"--gate": gate, "--checkpoint": checkpoint, "--picture": picture, "--sustained": sustained}
    for option, given in whole.items():
        if runner is not None and given is not None:
            raise ConfigError(
                f"{option} is for whole pictures; a runner times components alone. Leave one of the two out."
            )


def opened_for(
    paths: Sequence[Path], modes: Sequence["Mode"], method: "Method", size: str | None = None
) -> "dict[str, Bundle]":
    """The bundles by name, in one of their sizes, with their modes and the prompts checked: all that needs no phone."""
    opened = {name: chosen_size(bundle, size, "measured") for name, bundle in open_all(paths, modes).items()}
    check_prompts(opened, modes, method)
    return opened


def check_outputs(bundles: Sequence[Path], html: Path | None, csv: Path | None, save: Path | None) -> None:
    """Refuse (OutputError) places that cannot be written or hold something else, before any work."""
    from dreamlite_mobile.files import check_file_target

    if html is not None and csv is not None and html.resolve() == csv.resolve():
        raise OutputError(f"--html and --csv both name {html}: only one of them would be left. Name two files.")
    for option, place in (("--html", html), ("--csv", csv), ("--save", save)):
        for bundle in bundles:
            if place is not None and place.resolve().is_relative_to(bundle.resolve()):
                raise OutputError(f"{option} {place}: lies in the bundle {bundle}, which holds nothing but its files.")
    for path in (html, csv):
        if path is not None:
            check_file_target(path)
    if save is not None and not save.is_dir():
        raise OutputError(f"--save {save}: is no folder. Create it or name another one.")


def picture_of(path: Path) -> "Image.Image":
    """The picture to edit."""
    from dreamlite_mobile.images import load_image

    return load_image(path)


def open_all(paths: Sequence[Path], modes: Sequence["Mode"]) -> "dict[str, Bundle]":
    """Checked bundles by name; folders of one name are told apart by those above them.

    Raises:
        ConfigError: a folder that is named twice.
    """
    found: dict[str, Bundle] = {}
    for path, name in zip(paths, labels(paths), strict=True):
        if name in found:
            raise ConfigError(f"{path}: is named twice; a bundle is measured once. Copy it to compare it with itself.")
        found[name] = open_checked(path)
        for one in modes:
            found[name].require(one)
    return found


def check_prompts(bundles: "dict[str, Bundle]", modes: "Sequence[Mode]", method: "Method") -> None:
    """Refuse (PromptError) what a bundle's tokenizer cannot use, before anything is pushed; say what is cut off."""
    from dreamlite_mobile.runtime.session import prompt_encoder

    for bundle in bundles.values():
        encoder = prompt_encoder(bundle)
        for one in modes:
            layout = encoder.generate(method.prompt) if one == "generate" else encoder.edit(method.instruction)
            if layout.warning is not None:
                notice(layout.warning)


def reference_of(
    checkpoint: str | None, method: "Method", source: "Image.Image | None", bundles: "dict[str, Bundle]"
) -> "Reference":
    """Draws on this machine what the phone should have drawn.

    Raises:
        ConfigError: a bundle that this machine cannot run, without a checkpoint. CheckpointError: another checkpoint
            than a bundle was made from.
    """
    from dreamlite_mobile.device.host import bundle_reference, checkpoint_reference

    if checkpoint is not None:
        from dreamlite_mobile.cli.judge import matching_checkpoint

        found = {bundle.path: matching_checkpoint(bundle, checkpoint) for bundle in bundles.values()}
        return checkpoint_reference(lambda bundle: found[bundle.path], method, source)
    for name, bundle in bundles.items():
        if bundle.manifest.backend != "xnnpack":
            raise ConfigError(
                f"{name}: made for {bundle.manifest.target}, which this machine cannot run as it is, so there is "
                "nothing to compare its pictures with. Name its checkpoint with --checkpoint, or pass --unchecked."
            )
    return bundle_reference(method, source)
