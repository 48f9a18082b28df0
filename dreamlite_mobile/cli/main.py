"""The commands put together, and errors turned into messages and exit codes."""

import os
import sys

import typer

from dreamlite_mobile.cli import check, demo, export, pictures
from dreamlite_mobile.cli.shared import stderr
from dreamlite_mobile.errors import DreamLiteError

app = typer.Typer(
    name="dreamlite",
    help="DreamLite on phones: export a checkpoint, generate and edit through the exported files, prove parity.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 parity below its floor, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export")(export.export)
app.command("make-checkpoint")(export.make_checkpoint)
app.command("generate")(pictures.generate)
app.command("edit")(pictures.edit)
app.command("parity")(check.parity)
app.command("verify")(check.verify)
app.command("inspect")(check.inspect)
app.command("doctor")(check.doctor)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line and exit: results on stdout, everything else on stderr."""
    try:
        app()
    except DreamLiteError as error:
        stderr.print(f"error: {error}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
