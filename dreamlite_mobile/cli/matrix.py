"""`dreamlite export-matrix`: many bundles from one file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dreamlite_mobile.cli.shared import (
    ForceOption,
    JsonOption,
    MaxMemoryOption,
    gigabytes,
    labels,
    megabytes,
    notice,
    print_json,
    quiet_libraries,
    stderr,
    table,
    with_qnn,
)
from dreamlite_mobile.components import MODES
from dreamlite_mobile.errors import ConfigError, ExportError
from dreamlite_mobile.files import make_folder
from dreamlite_mobile.progress import task as progress_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dreamlite_mobile.bundle_fields import Mode
    from dreamlite_mobile.checkpoint import Checkpoint
    from export.cluster import Done, Place
    from export.driver import ExportRequest
    from export.graph import Planned, Task
    from export.matrix import Cell, MatrixFile


def export_matrix(
    file: Annotated[Path, typer.Argument(help="A TOML file: checkpoints, backends, precisions, sizes, socs.")],
    out: Annotated[Path, typer.Option(help="The folder for the bundles, one a cell; made if it is not there.")],
    cache: Annotated[
        Path | None, typer.Option(help="Where finished components are kept, for all runs; by default OUT/pieces.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Tasks at a time; by default one per core.")] = None,
    max_memory: MaxMemoryOption = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="An existing Ray cluster with this machine in it: HOST:PORT of its head, or auto. Its nodes need the "
            "same install, and a shared file system with --out, --cache and checkpoints under the same paths."
        ),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a task begins again whose worker died.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the graph; write nothing.")] = False,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Export every combination that a file names; components that bundles share are made once.

    Example: dreamlite export-matrix matrix.toml --out bundles --max-memory 12GB
    """
    from export.matrix import read_matrix

    said = read_matrix(file)
    if "qnn" in said.backends and not dry_run:
        with_qnn()
    quiet_libraries()
    from export.cluster import run_tasks
    from export.graph import graph

    place = place_of(jobs, max_memory, address, retries)
    planned = planned_cells(said, file, out, cache or out / "pieces", force)
    refused = [one for one in planned if one.reason]
    if refused and not said.skip_unsupported:
        listed = "\n".join(f"  {one.cell.name}: {one.reason}" for one in refused)
        raise ConfigError(
            f"{file}: {len(refused)} of {len(planned)} cells cannot be made; take them out, or set skip_unsupported = "
            f"true to make the others\n{listed}"
        )
    tasks = graph(planned)
    if dry_run:
        show_graph(planned, tasks, json_output)
        return
    make_folder(out, "--out")
    ended: dict[str, Done] = {}
    with progress_of(stderr, "exporting", total=len(tasks)) as advance:
        for done in run_tasks(tasks, place, notice) if tasks else ():
            ended[done.task.key] = done
            stderr.print(f"  {len(ended)}/{len(tasks)} {said_of(done)}", markup=False)
            advance(1)
    show_cells(planned, ended, out, json_output)
    failed = [one.cell.name for one in planned if one.bundle and state_of(one, ended) == "failed"]
    if failed:
        raise ExportError(f"{len(failed)} of {len(planned)} bundles could not be made: {', '.join(failed)}")


def place_of(jobs: int | None, max_memory: str | None, address: str | None, retries: int) -> "Place":
    """Where to run; ConfigError for limits of this machine on a cluster."""
    from export.cluster import Place
    from export.memory import parse_memory

    if address is not None:
        for option, value in (("--jobs", jobs), ("--max-memory", max_memory)):
            if value is not None:
                raise ConfigError(f"{option} {value}: the nodes of a cluster say what they have; leave it out")
    memory = None if max_memory is None else parse_memory(max_memory)
    return Place(jobs or len(os.sched_getaffinity(0)), memory, address, retries)


def planned_cells(said: "MatrixFile", file: Path, out: Path, cache: Path, force: bool) -> "list[Planned]":
    """Every cell with its tasks; checkpoints are opened and read once."""
    from dreamlite_mobile.checkpoint import open_checkpoint, resolve_checkpoint
    from export.graph import plan_cell
    from export.matrix import cells_of

    found = {name: file.parent / name if (file.parent / name).is_dir() else name for name in said.checkpoints}
    opened = {name: open_checkpoint(resolve_checkpoint(place).resolve()) for name, place in found.items()}
    for name, checkpoint in opened.items():
        with progress_of(stderr, f"checking every weight of {name}", total=checkpoint.total_bytes) as advance:
            checkpoint.check(advance)
    local = [name for name in said.checkpoints if Path(found[name]).is_dir()]
    short = dict(zip(local, labels([Path(found[name]) for name in local]), strict=True))
    return [
        plan_cell(cell, request_of(cell, said, opened[cell.checkpoint], short, cache), out.resolve(), force)
        for cell in cells_of(said, {name: short.get(name, name) for name in said.checkpoints})
    ]


def request_of(
    cell: "Cell", said: "MatrixFile", checkpoint: "Checkpoint", local: "Mapping[str, str]", cache: Path
) -> "ExportRequest":
    """What one export of that cell would be asked. A local folder is recorded by its name only."""
    from export.driver import ExportRequest

    (width, height), *further = cell.sizes
    return ExportRequest(
        checkpoint=checkpoint,
        source=checkpoint.path.name if cell.checkpoint in local else cell.checkpoint,
        backend=cell.backend,
        width=width,
        height=height,
        precision=cell.precision,
        modes=cast("tuple[Mode, ...]", tuple(mode for mode in MODES if mode in said.modes)),
        components=said.components,
        cache=cache.resolve(),
        soc=cell.soc,
        embeddings=said.embeddings,
        precompute_prefix=said.precompute_prefix,
        further=tuple(further),
    )


def said_of(done: "Done") -> str:
    """One line for a task that ended."""
    if done.problem is not None:
        return f"{done.task.name}: {done.problem}"
    if not done.result["made"]:
        return f"{done.task.name}: finished before"
    return f"{done.task.name}: {done.result['seconds']:.1f} s, {gigabytes(done.result['peak_bytes'])}"


def state_of(one: "Planned", ended: "Mapping[str, Done]") -> str:
    """What became of a cell."""
    if one.bundle is None:
        return "skipped"
    if one.unchanged:
        return "unchanged"
    return "failed" if ended[one.bundle.key].problem else "made"


def show_graph(planned: "Sequence[Planned]", tasks: "Mapping[str, Task]", json_output: bool) -> None:
    """What would be done, in order: each piece with the bundles that need it."""
    users = {key: [one.name for one in tasks.values() if key in one.needs] for key in tasks}
    skipped = {one.cell.name: one.reason for one in planned if one.reason}
    unchanged = [one.cell.name for one in planned if one.unchanged]
    if json_output:
        listed = [
            {
                "task": one.name,
                "key": one.key,
                "memory_bytes": one.memory,
                "needs": [tasks[need].name for need in one.needs],
                "for": users[one.key],
            }
            for one in tasks.values()
        ]
        print_json({"tasks": listed, "unchanged": unchanged, "skipped": skipped})
        return
    pieces = sorted(tasks.values(), key=lambda one: one.component is None)
    rows = [
        ["piece" if one.component else "bundle", one.name, gigabytes(one.memory), "\n".join(users[one.key]) or "-"]
        for one in pieces
    ]
    table("would be done", ["task", "name", "memory", "for"], rows, right=(2,))
    show_reasons(skipped, unchanged)


def show_reasons(skipped: "Mapping[str, str]", unchanged: "Sequence[str]") -> None:
    for name, reason in skipped.items():
        notice(f"skipped {name}: {reason}")
    if unchanged:
        notice(f"finished before: {', '.join(unchanged)}")


def show_cells(planned: "Sequence[Planned]", ended: "Mapping[str, Done]", out: Path, json_output: bool) -> None:
    """A row a cell: what became of it, what its components took and how many of them it shares."""
    found = [cell_json(one, planned, ended, out) for one in planned]
    if json_output:
        print_json({"out": str(out), "cells": found, "tasks": [task_json(done) for done in ended.values()]})
        return
    rows = [
        [row["cell"], row["state"], f"{row['components']} ({row['shared']})", f"{row['seconds']:.1f} s",
         gigabytes(row["peak_bytes"]), str(row["retried"]), megabytes(row["bytes"]) if row["bytes"] else "-",
         row["problem"] or ""]
        for row in found
    ]  # fmt: skip
    columns = ["cell", "", "components (shared)", "time", "peak memory", "retried", "size", ""]
    table(str(out), columns, rows, right=(2, 3, 4, 5, 6))


def cell_json(one: "Planned", planned: "Sequence[Planned]", ended: "Mapping[str, Done]", out: Path) -> dict[str, Any]:
    """One cell of the summary; time is that of its tasks, made or shared."""
    from export.matrix import as_json

    state = state_of(one, ended)
    mine = [*one.pieces, *([one.bundle] if one.bundle else [])]
    done = [ended[task.key] for task in mine if task.key in ended]
    others = {piece.key for other in planned if other is not one for piece in other.pieces}
    problem = one.reason or (ended[one.bundle.key].problem if state == "failed" and one.bundle else None)
    folder = out / one.cell.name
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if state != "skipped" else 0
    return as_json(one.cell) | {
        "state": state,
        "components": len(one.pieces),
        "shared": sum(piece.key in others for piece in one.pieces),
        "seconds": round(sum(item.result.get("seconds", 0.0) for item in done), 2),
        "peak_bytes": max((item.result.get("peak_bytes", 0) for item in done), default=0),
        "retried": sum(max(0, item.attempts - 1) for item in done),
        "bytes": size,
        "problem": problem,
    }


def task_json(done: "Done") -> dict[str, Any]:
    return {"task": done.task.name, "attempts": done.attempts, **done.result}
