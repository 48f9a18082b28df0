"""The commands put together, and errors turned into messages and exit codes."""

import errno
import os
import signal
import sys
import threading
from functools import partial
from types import FrameType
from typing import NoReturn

import typer

from dreamlite_mobile.cli import bench, bisect, check, demo, devices, estimate, export, golden, matrix, pictures, score
from dreamlite_mobile.cli.shared import stderr
from dreamlite_mobile.errors import DreamLiteError

app = typer.Typer(
    name="dreamlite",
    help="DreamLite on phones: export a checkpoint, generate and edit through the exported files, prove parity.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 floor or limit missed, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export")(export.export)
app.command("export-matrix")(matrix.export_matrix)
app.command("make-checkpoint")(export.make_checkpoint)
app.command("generate")(pictures.generate)
app.command("edit")(pictures.edit)
app.command("parity")(check.parity)
app.command("bisect")(bisect.bisect)
app.command("repro")(bisect.repro)
app.command("score")(score.score)
app.command("verify")(check.verify)
app.command("inspect")(check.inspect)
app.command("targets")(check.targets)
app.command("doctor")(check.doctor)
app.command("demo")(demo.demo)
app.command("devices")(devices.devices)
app.add_typer(bench.bench, name="bench")
app.command("estimate")(estimate.estimate)
app.command("golden")(golden.golden)


def main() -> None:
    """Run the command line and exit: results on stdout, everything else on stderr."""
    interrupted = threading.Event()
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, partial(_interrupted, interrupted))
    try:
        app()
        sys.stdout.flush()
    except Exception as error:
        if not interrupted.is_set():
            _explain(error)
        sys.exit(128 + signal.SIGINT)  # whatever a library made of the KeyboardInterrupt


def _explain(error: Exception) -> NoReturn:
    """Exit with a message for what a user can mend; anything else is a fault of ours and passes through."""
    if isinstance(error, DreamLiteError):
        stderr.print(f"error: {error}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    if isinstance(error, BrokenPipeError):
        _give_up_stdout()
        sys.exit(0)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        _give_up_stdout()
        stderr.print("error: standard output is full: send it to a place with room", style="bold red")
        sys.exit(1)
    raise error


def _give_up_stdout() -> None:
    """What is still buffered goes nowhere, so that the interpreter's own flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as on Ctrl-C, cleaning up, with the exit code that shells expect of SIGTERM."""
    sys.exit(128 + signal.SIGTERM)


def _interrupted(noted: threading.Event, number: int, frame: FrameType | None) -> NoReturn:
    noted.set()
    signal.default_int_handler(number, frame)
