"""Progress of long work, on stderr only: stdout belongs to results."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]
"""Called with the number of units done since the last call."""
Tell = Callable[[str], None]
"""Called with words for what is being done."""


def silent(_said: str) -> None:
    """Tell nobody."""


def error_console(quiet: bool = False) -> Console:
    """Where notices go."""
    return Console(stderr=True, quiet=quiet, highlight=False)


@contextlib.contextmanager
def task(console: Console, label: str, total: float | None = None) -> Iterator[Advance]:
    """One task with a bar, or a spinner with elapsed time where the total is not known. Gone when done."""
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
    if total is not None:
        columns[2:2] = [BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        handle = progress.add_task(label, total=total)
        yield lambda amount: progress.advance(handle, amount)
