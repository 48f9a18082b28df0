"""Options and printing that several commands share."""

import json
import logging
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.progress import error_console

stderr = error_console()
WIDE = 160
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=256, help="CPU threads; by default the runtime's own choice.")
]
SizeOption = Annotated[str, typer.Option(help="Picture size: a side or WIDTHxHEIGHT, multiples of 32.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the initial noise, 0 to 2^64-1; the same on every machine.")]
StepsOption = Annotated[int, typer.Option(help="Denoising steps, 1 to 50; the model was distilled for 4.")]
LatentsOption = Annotated[
    Path | None, typer.Option(help="Initial noise [1,4,h,w] from an .npy file, not from the seed.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is at the target.")]


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def table(title: str, columns: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """A table on stdout; columns whose index is in `right` are right-aligned."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    stdout.print(grid)


def notice(message: str) -> None:
    """A warning on stderr."""
    stderr.print(f"note: {message}", style="yellow", markup=False, soft_wrap=True)


def names(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; None stays None.

    Raises:
        ConfigError: an empty list.
    """
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ConfigError(f"found {text!r}; expected names separated by commas")
    return found


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def quiet_libraries() -> None:
    """Importing torchao and executorch warns about things users cannot change."""
    warnings.filterwarnings("ignore")
    for name in ("torch", "torch.utils._pytree", "torchao", "executorch", "diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
