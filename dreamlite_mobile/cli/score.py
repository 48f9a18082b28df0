"""`dreamlite score`: how well pictures follow prompts and edits instructions, through a bundle or a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import (
    JsonOption,
    SeedOption,
    StepsOption,
    ThreadsOption,
    chosen_size,
    prepare_for,
    print_json,
    quiet_libraries,
    stderr,
    table,
)
from dreamlite_mobile.components import size_text
from dreamlite_mobile.progress import task

if TYPE_CHECKING:
    from dreamlite_mobile.pipeline import Pipeline
    from dreamlite_mobile.tiny.score import Score

CHECKPOINT_SIDE = "128"


def score(
    source: Annotated[
        str, typer.Argument(help="A bundle folder, or a checkpoint: a diffusers-layout folder or a hub id.")
    ],
    prompts: Annotated[int, typer.Option(help="Pictures in each of the four groups.")] = 48,
    size: Annotated[
        str | None,
        typer.Option(help="Side of a checkpoint's pictures, 128; or which of a bundle's sizes, by default its first."),
    ] = None,
    seed: SeedOption = 0,
    steps: StepsOption = 4,
    threads: ThreadsOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the first pictures as a contact sheet: a folder.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Score pictures of the embedded world: coloured shapes, as prompts and edit instructions ask for them.

    Any checkpoint draws that world as well as it can; the embedded one is made for it. What an export loses is told by
    `dreamlite parity --score`.

    Example: dreamlite score bundle --prompts 24
    """
    if is_bundle(source):
        prepare_for(Path(source), emulator=True)
    quiet_libraries()
    from dreamlite_mobile.images import save_png
    from dreamlite_mobile.scheduler import check_steps
    from dreamlite_mobile.tiny.evaluate import contact_sheet, evaluate, groups_of, scores_json

    check_steps(steps)
    with (
        pipeline_of(source, size, threads) as (pipeline, modes),
        task(stderr, "scoring", len(groups_of(modes)) * prompts) as advance,
    ):
        found = evaluate(pipeline, prompts, seed=seed, steps=steps, modes=modes, advance=advance)
    if sheet is not None:
        sheet.mkdir(parents=True, exist_ok=True)
        for group, made in found.made.items():
            save_png(contact_sheet(made[:16]), sheet / f"{group.replace(', held out', '-held-out')}.png", {})
    scores = found.scores()
    if json_output:
        print_json(
            {
                "source": source,
                "size": size_text((pipeline.width, pipeline.height)),
                "prompts": prompts,
                "steps": steps,
                "seed": seed,
            }
            | scores_json(scores)
        )
    else:
        show_scores({source: scores})


def show_scores(scores: "dict[str, dict[str, Score]]") -> None:
    """One row for every source, group and kind of prompt."""
    rows = [
        [name, group, kind, f"{share:.3f}", "" if kept is None else f"{kept:.1f}"]
        for name, groups in scores.items()
        for group, one in groups.items()
        for kind, share, kept in rows_of(one)
    ]
    table("score", ["source", "group", "kind", "right", "kept dB"], rows, right=(3, 4))


def rows_of(found: "Score") -> list[tuple[str, float, float | None]]:
    """The whole and then its kinds: name, share, and for the whole what edits kept."""
    return [("overall", found.overall, found.kept_db), *((kind, share, None) for kind, share in found.by_kind.items())]


@contextmanager
def pipeline_of(source: str, size: str | None, threads: int | None) -> "Iterator[tuple[Pipeline, Sequence[str]]]":
    """A bundle's own pipeline, or a checkpoint's reference in torch fp32; with the modes it has."""
    from dreamlite_mobile.cli.pictures import open_checked
    from dreamlite_mobile.images import parse_size
    from dreamlite_mobile.runtime.session import Session
    from dreamlite_mobile.tiny.evaluate import check_square

    folder = Path(source)
    if is_bundle(source):
        bundle = chosen_size(open_checked(folder), size, "scored")
        with Session(bundle, threads, emulator=True) as session:
            yield session.pipeline(), bundle.manifest.modes
        return
    width, height = parse_size(size or CHECKPOINT_SIDE)
    check_square(width, height)
    yield reference_of(source, width), ("generate", "edit")


def is_bundle(source: str) -> bool:
    """Whether a folder has a bundle's manifest."""
    from dreamlite_mobile.bundle_checks import MANIFEST_NAME

    return (Path(source) / MANIFEST_NAME).is_file()


def reference_of(source: str, size: int) -> "Pipeline":
    """The reference over every component of a checkpoint."""
    from dreamlite_mobile.checkpoint import open_checkpoint, resolve_checkpoint
    from dreamlite_mobile.cli.scoring import reference_over
    from dreamlite_mobile.images import check_size
    from export.driver import geometry_of, prompt_encoder

    checkpoint = open_checkpoint(resolve_checkpoint(source, None))
    check_size(size, size, checkpoint.config.size_multiple)
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, size, size)
    return reference_over(checkpoint, geometry, encoder, ("generate", "edit"))
