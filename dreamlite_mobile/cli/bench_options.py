"""The options of `dreamlite bench`, in the order of its help."""

import math
from pathlib import Path
from typing import Annotated

import typer

DAY_S = 86_400.0


def _number(value: float | None) -> float | None:
    """BadParameter for `nan`, which is neither under a limit nor over it: a wait for it would not end."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number.")
    return value


BundlesArgument = Annotated[
    list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles; several are measured in turns.")
]
ModeOption = Annotated[str, typer.Option(help="generate, edit or both.")]
GateOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=DAY_S, callback=_number, help="Seconds: exit with 3 when the median of any mode is over it."
    ),
]
BenchSizeOption = Annotated[
    str | None,
    typer.Option("--size", help="Which of the bundles' sizes, as WIDTHxHEIGHT; by default each one's first."),
]
RunsOption = Annotated[int, typer.Option(min=1, max=10_000, help="Timed runs of each case.")]
RoundsOption = Annotated[
    int, typer.Option(min=1, max=100, help="Processes that the runs of a case are dealt over; each starts cold.")
]
WarmUpOption = Annotated[int, typer.Option(min=0, max=1000, help="Runs of each process that do not count.")]
CoolDownOption = Annotated[
    float,
    typer.Option(min=0.0, max=DAY_S, callback=_number, help="Seconds to wait at most for the thermal status at rest."),
]
SustainedOption = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=DAY_S / 60, callback=_number, help="Minutes to run without a pause, in one process for each case."
    ),
]
PromptOption = Annotated[str, typer.Option(help="What to generate.")]
InstructionOption = Annotated[str, typer.Option(help="What to edit.")]
PictureOption = Annotated[Path | None, typer.Option(help="The picture to edit; by default a drawn one.")]
CheckpointOption = Annotated[
    str | None, typer.Option(help="Compare the pictures with torch on this checkpoint, not with the bundle run here.")
]
UncheckedOption = Annotated[bool, typer.Option("--unchecked", help="Do not compare the pictures; the report says so.")]
RunnerOption = Annotated[
    Path | None,
    typer.Option(help="Time components alone through this executor_runner or qnn_executor_runner, without the app."),
]
LimitOption = Annotated[
    float,
    typer.Option(
        min=1.0, max=DAY_S, callback=_number, help="Seconds that one process may take, --sustained not counted."
    ),
]
HtmlOption = Annotated[Path | None, typer.Option(help="Write the report as one self-contained page.")]
CsvOption = Annotated[Path | None, typer.Option(help="Write every sample as CSV.")]
SaveOption = Annotated[Path | None, typer.Option(help="Folder to keep the result file in, such as benchmarks/results.")]
