"""Options and printing that several commands share."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.progress import error_console

if TYPE_CHECKING:
    from dreamlite_mobile.bundle import Bundle

stderr = error_console()
WIDE = 160
PROMPT = "a red circle left of a blue square on a green background"
INSTRUCTION = "make the circle yellow"
"""What parity and benchmarks draw unless they are told otherwise."""
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=256, help="CPU threads; by default the runtime's own choice.")
]
SizeOption = Annotated[str, typer.Option(help="Picture size: a side or WIDTHxHEIGHT, multiples of 32.")]
SizesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        help="Picture size: a side or WIDTHxHEIGHT, multiples of 32; 1024. Repeatable: one bundle then draws several "
        "sizes over the same weights, the first being the default (xnnpack, onnx, coreml).",
    ),
]
ChosenSizeOption = Annotated[
    str | None, typer.Option("--size", help="Which of the bundle's sizes, as WIDTHxHEIGHT; by default its first.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the initial noise, 0 to 2^64-1; the same on every machine.")]
StepsOption = Annotated[int, typer.Option(help="Denoising steps, 1 to 50; the model was distilled for 4.")]
LatentsOption = Annotated[
    Path | None, typer.Option(help="Initial noise [1,4,h,w] from an .npy file, not from the seed.")
]
EmulatorOption = Annotated[
    bool, typer.Option("--emulator", help="Run a bundle for a Snapdragon on the HTP emulator: exact, but slow.")
]
RoundingOption = Annotated[
    str,
    typer.Option(
        help="Where Core ML packages are evaluated, round activations to fp16 (as on the phone) or keep fp32."
    ),
]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Most memory for this process and its workers together, such as 12GB or 800MiB: as many work at a "
        "time as fit; qnn components are cut by it.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is at the target.")]


def chosen_size(bundle: "Bundle", size: str | None, what: str) -> "Bundle":
    """The bundle in the size that was asked for; where none was and it has several, says which one is `what` it is.

    Raises:
        ConfigError: no size. BundleError: one that the bundle does not have.
    """
    from dreamlite_mobile.components import size_text, sizes_text
    from dreamlite_mobile.images import parse_size

    if size is None and len(bundle.sizes) > 1:
        others = sizes_text(bundle.sizes[1:])
        notice(f"{bundle.path.name}: {size_text(bundle.sizes[0])}, its first size, is {what}; it also has {others}")
    return bundle.at(None if size is None else parse_size(size))


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def table(title: str, columns: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """A table on stdout; columns whose index is in `right` are right-aligned. Brackets in texts are only brackets."""
    grid = Table(title=Text(title, style="table.title"), title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(Text(column), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    stdout.print(grid)


def notice(message: str) -> None:
    """A warning on stderr."""
    stderr.print(f"note: {message}", style="yellow", markup=False, soft_wrap=True)


def names(text: str | None, option: str | None = None) -> tuple[str, ...] | None:
    """Comma-separated names, each once; None stays None. `option`: where they were given.

    Raises:
        ConfigError: an empty list.
    """
    if text is None:
        return None
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        where = "" if option is None else f"{option}: "
        raise ConfigError(f"{where}found {text!r}; expected names separated by commas")
    return found


def labels(paths: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with those above it as far as they are needed to tell two apart."""
    parts = [path.resolve().parts for path in paths]

    def named(mine: tuple[str, ...]) -> str:
        for count in range(1, len(mine) + 1):
            if sum(other[-count:] == mine[-count:] for other in set(parts)) == 1:
                return "/".join(mine[-count:])
        return "/".join(mine)

    return [named(mine) for mine in parts]


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def with_qnn() -> None:
    """Start again with the Qualcomm libraries in reach, unless they are, and keep what they print out of the way.

    Call it before torch is imported. The libraries print pages on file descriptors 1 and 2: from here on these are a
    log in the cache folder, and Python's own streams go to where they went before.
    """
    from export.qnn_sdk import cache_folder, ready

    ready(notice)
    logging.disable(logging.WARNING)
    log = os.open(cache_folder() / "qnn.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    sys.stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, buffering=1)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def prepare_for_all(bundles: Sequence[Path]) -> None:
    """`prepare_for` several bundles, those for a chip to run on the emulator: once for each backend is enough."""
    from dreamlite_mobile.bundle_files import read_manifest

    chosen = {read_manifest(bundle).backend: bundle for bundle in reversed(bundles)}
    for backend in sorted(chosen, key=lambda backend: backend != "qnn"):  # it may start the process again
        prepare_for(chosen[backend], emulator=True)


def prepare_for(bundle: Path, emulator: bool) -> None:
    """What a bundle's backend needs before anything heavy is imported, and what is to be known of running it here.

    Raises:
        BundleError: a bundle for a chip, without `emulator`.
    """
    from dreamlite_mobile.bundle_files import read_manifest

    manifest = read_manifest(bundle)
    if manifest.backend == "coreml" and sys.platform != "darwin":
        notice("there is no Core ML here: its packages are evaluated operator by operator; no time is one of a phone")
    if manifest.backend != "qnn":
        return
    if not emulator:
        raise BundleError(f"{bundle}: is for {manifest.target}; run it on that phone, or here with --emulator")
    with_qnn()
    notice(f"the HTP emulator computes what {manifest.target} would, hundreds of times slower")


def quiet_libraries() -> None:
    """Importing torchao and executorch warns about things users cannot change."""
    warnings.filterwarnings("ignore")
    for name in ("torch", "torch.utils._pytree", "torchao", "executorch", "diffusers", "transformers", "coremltools"):
        logging.getLogger(name).setLevel(logging.ERROR)
