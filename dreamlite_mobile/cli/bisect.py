"""`dreamlite bisect` and `dreamlite repro`: where a bundle departs from torch, and one block of it again."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dreamlite_mobile.cli.pictures import BundleArgument
from dreamlite_mobile.cli.shared import (
    JsonOption,
    notice,
    prepare_for_all,
    print_json,
    quiet_libraries,
    stderr,
    stdout,
    table,
)
from dreamlite_mobile.errors import BundleError, ParityError, unknown_name

if TYPE_CHECKING:
    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.checkpoint import Checkpoint
    from dreamlite_mobile.parity.bisect import Bench, Bisection
    from dreamlite_mobile.parity.metrics import Metrics
    from dreamlite_mobile.parity.run import Case

Origin = Literal["run", "sample"]


def bisect(
    bundle: BundleArgument,
    component: Annotated[str, typer.Option(help="The component to walk through.")],
    mode: Annotated[str | None, typer.Option(help="Its method; by default its first.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="The checkpoint it was made from; by default the one the manifest names.")
    ] = None,
    inputs: Annotated[
        Origin, typer.Option("--input", help="What goes in: the last call of a real run, or a seeded sample.")
    ] = "run",
    only: Annotated[
        str | None, typer.Option(help="Export alone only the blocks whose names start so, such as up_blocks.1.")
    ] = None,
    blocks_only: Annotated[
        bool,
        typer.Option(
            "--blocks-only", help="Do not export the whole network again for a backend whose files cannot be opened."
        ),
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="Folder for the repro of the block found; by default repro-COMPONENT.METHOD.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the chart and the table as one self-contained page.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Walk through a component block by block; name the first and the worst departure from torch; save a repro of it.

    Every block runs alone through the backend on torch's inputs, and the shipped program is opened, where its backend
    can, to see its values after each block and the constants that are not the checkpoint's. Exits with 3 when a block
    is found.

    Example: dreamlite bisect bundle --component unet --checkpoint ./DreamLite-mobile
    """
    from dreamlite_mobile.files import check_file_target, check_folder_target

    if html is not None:
        check_file_target(html)
    if save is not None:
        check_folder_target(save)
    prepare_for_all([bundle])
    quiet_libraries()
    from dreamlite_mobile.bundle import open_bundle
    from dreamlite_mobile.cli.judge import matching_checkpoint
    from dreamlite_mobile.cli.report_parts import verdict
    from dreamlite_mobile.parity.bisect import check_only
    from dreamlite_mobile.parity.blocks import block_names
    from dreamlite_mobile.parity.report import bisect_json
    from dreamlite_mobile.parity.repro import write_repro

    opened = open_bundle(bundle, verify="quick")
    entry = opened.component(component)
    method = mode or next(iter(entry.methods))
    if method not in entry.methods:
        raise BundleError(f"--mode: {unknown_name('method', method, entry.methods)}")
    check_only(only, block_names(component, opened.manifest.checkpoint.dreamlite_config))
    source = matching_checkpoint(opened, checkpoint)
    with walking(opened, source, chosen_case(opened, source, component, method, inputs)) as bench:
        from dreamlite_mobile.parity.bisect import bisect as walk

        found = walk(bench, only, not blocks_only)
        saved = None
        if found.culprit is not None:
            saved = write_repro(bench, found, found.culprit, save or free_place(f"repro-{component}.{method}"))
    if html is not None:
        write_bisect_page(html, bundle.name, found, saved)
    if json_output:
        print_json(bisect_json(found, bundle.name, None if saved is None else str(saved)))
    else:
        show_bisection(found, saved)
    complaints = verdict(found)
    if complaints:
        raise ParityError(f"{bundle}:\n" + "\n".join(f"  {text}" for text in complaints))


@contextmanager
def walking(bundle: "Bundle", checkpoint: "Checkpoint", case: "Case") -> "Iterator[Bench]":
    """A bench in a temporary folder, saying on stderr what it is at."""
    from dreamlite_mobile.cli.judge import bisect_bench

    with (
        tempfile.TemporaryDirectory(prefix="dreamlite-blocks-") as work,
        stderr.status("bisect") as status,
    ):
        yield bisect_bench(bundle, checkpoint, case, Path(work), lambda name: status.update(f"bisect: {name}"))


def chosen_case(bundle: "Bundle", checkpoint: "Checkpoint", component: str, method: str, origin: Origin) -> "Case":
    """The input to walk with."""
    from dreamlite_mobile.bundle_checks import geometry
    from dreamlite_mobile.cli.judge import JudgeRequest, last_cases, trajectory
    from dreamlite_mobile.components import component_specs
    from dreamlite_mobile.parity.run import sample_cases

    if origin == "sample":
        cases = sample_cases(component_specs(geometry(bundle.manifest), bundle.manifest.modes, [component]))
    else:
        # To edit, there must be a picture first.
        modes = [mode for mode in bundle.manifest.modes if not method.startswith("generate") or mode == "generate"]
        cases = trajectory(drawing(bundle, method), checkpoint, JudgeRequest(bundle.path), modes)
    return next(case for case in last_cases(cases, component) if case.method == method)


def drawing(bundle: "Bundle", method: str) -> "Bundle":
    """The bundle in the size that a method is for; one of every size is run in the first."""
    in_turn = [bundle.at(size) for size in reversed(bundle.sizes)]
    return next(one for one in in_turn if method.endswith(one.suffix))


def free_place(name: str) -> Path:
    """`NAME` here, or `NAME-2` and so on where that is taken."""
    return next(path for path in (Path(f"{name}-{n}" if n > 1 else name) for n in count(1)) if not path.exists())


def show_bisection(found: "Bisection", saved: Path | None) -> None:
    """Every block, then what was found."""
    rows = [
        [
            block.name,
            block.kind,
            shown(block.alone),
            shown(block.shipped),
            shown(block.cumulative),
            "\n".join(block.said),
        ]
        for block in found.blocks
    ]
    title = f"{found.component}.{found.method}, {found.precision} on {found.backend}, input: {found.origin}"
    headings = ["block", "kind", "alone dB", "as shipped dB", "in the network dB", ""]
    table(title, headings, rows, (2, 3, 4))
    first, worst = found.first, found.worst
    lines = [
        f"the network's output: {shown(found.whole)} dB (floor {found.floor_db:g}); in the network: {found.source}",
        f"first below the floor: {'none' if first is None else f'{first.name}, {shown(first.cumulative)} dB'}",
        f"worst by itself{looked_at(found)}: "
        f"{'none' if worst is None else f'{worst.name}, {shown(worst.by_itself)} dB'}",
        *(f"repro: {saved} (dreamlite repro {saved})" for _ in [0] if saved is not None),
    ]
    for line in lines:
        stdout.print(line, markup=False, soft_wrap=True)
    for note in found.notes:
        notice(note)


def looked_at(found: "Bisection") -> str:
    """How many of the blocks were, unless all."""
    count = len(found.blocks)
    return f" (of {count - found.left_out} of {count} blocks)" if found.left_out else ""


def shown(metrics: "Metrics | None") -> str:
    """SNR, or what disqualifies it."""
    from dreamlite_mobile.parity.report import decibels

    if metrics is None:
        return ""
    return "; ".join(metrics.defects) or decibels(metrics.snr_db)


def write_bisect_page(path: Path, bundle: str, found: "Bisection", saved: Path | None) -> None:
    """The chart and the table as one page."""
    from dreamlite_mobile.cli.report_parts import block_chart, verdict
    from dreamlite_mobile.parity.page import Page, write_page
    from dreamlite_mobile.parity.page_tables import BlockRow
    from dreamlite_mobile.parity.versions import versions

    rows = tuple(
        BlockRow(
            block.name,
            block.kind,
            (shown(block.alone), shown(block.shipped), shown(block.cumulative)),
            "; ".join(block.said),
            failed=block is found.culprit or bool(block.differences),
        )
        for block in found.blocks
    )
    complaints = verdict(found)
    page = Page(
        title=f"{bundle}: {found.component}.{found.method} block by block",
        intro=" ".join(complaints) or f"Every block{looked_at(found)} reaches its floor.",
        facts=(
            ("backend", f"{found.backend}, {found.precision}"),
            ("input", f"{found.origin} {found.input_digest}"),
            ("first below the floor", found.first.name if found.first else "none"),
            (f"worst by itself{looked_at(found)}", found.worst.name if found.worst else "none"),
        ),
        charts=(block_chart(found, bundle),),
        blocks=rows,
        versions=tuple(versions().items()),
        commands=tuple([] if saved is None else [f"dreamlite repro {saved.name}"]),
        notes=found.notes,
    )
    write_page(path, page)


def repro(
    folder: Annotated[Path, typer.Argument(help="A folder that `dreamlite bisect` saved.")],
    again: Annotated[
        bool, typer.Option("--again", help="Build the block from its weights and export it anew, with the tools here.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Run one block that a bisection saved, and compare it with what torch made of the same inputs.

    Exits with 3 when it is below its floor.

    Example: dreamlite repro repro-unet.generate
    """
    prepare_for_all([folder])
    quiet_libraries()
    from dreamlite_mobile.parity.report import repro_json
    from dreamlite_mobile.parity.repro import open_repro, run_repro

    opened = open_repro(folder)
    said = opened.description
    with tempfile.TemporaryDirectory(prefix="dreamlite-repro-") as work:
        metrics = run_repro(opened, Path(work) if again else None)
    what = f"{said.component}.{said.method} {said.block} ({said.kind})"
    if json_output:
        print_json(repro_json(said, metrics, again))
    else:
        stdout.print(f"{what}: {shown(metrics)} dB, floor {said.floor_db:g} dB", markup=False, soft_wrap=True)
    if metrics.defects or not metrics.snr_db >= said.floor_db:
        raise ParityError(f"{what}: {shown(metrics)} dB is below the floor of {said.floor_db:g} dB")
