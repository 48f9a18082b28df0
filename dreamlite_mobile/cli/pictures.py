"""`dreamlite generate` and `dreamlite edit`: pictures through the exported files."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from dreamlite_mobile.cli.shared import (
    ChosenSizeOption,
    EmulatorOption,
    JsonOption,
    LatentsOption,
    RoundingOption,
    SeedOption,
    StepsOption,
    ThreadsOption,
    chosen_size,
    megabytes,
    notice,
    prepare_for,
    print_json,
    quiet_libraries,
    stderr,
    table,
)
from dreamlite_mobile.components import size_text
from dreamlite_mobile.pipeline import Stages
from dreamlite_mobile.progress import Advance, task
from dreamlite_mobile.runtime.rounding import Rounding, check_rounding

if TYPE_CHECKING:
    from PIL import Image

    from dreamlite_mobile.bundle import Bundle

T = TypeVar("T")

BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder made by `dreamlite export`.")]
OutOption = Annotated[Path, typer.Option(help="The PNG to write; it carries prompt, seed, steps, model and precision.")]
EditSizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Which of the bundle's sizes, as WIDTHxHEIGHT; by default the one whose ratio of width to height is "
        "nearest to the picture's.",
    ),
]
FrugalOption = Annotated[bool, typer.Option("--frugal", help="Keep one component in memory at a time.")]


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """One picture to make; `picture` is the source of an edit."""

    mode: Literal["generate", "edit"]
    bundle: Path
    prompt: str
    out: Path
    seed: int
    steps: int
    latents: Path | None
    threads: int | None
    frugal: bool
    picture: Path | None = None
    emulator: bool = False
    rounding: Rounding = "fp16"
    size: str | None = None


def generate(
    bundle: BundleArgument,
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    out: OutOption,
    seed: SeedOption = 0,
    steps: StepsOption = 4,
    size: ChosenSizeOption = None,
    latents: LatentsOption = None,
    threads: ThreadsOption = None,
    frugal: FrugalOption = False,
    emulator: EmulatorOption = False,
    rounding: RoundingOption = "fp16",
    json_output: JsonOption = False,
) -> None:
    """Generate a picture.

    Example: dreamlite generate bundle "a lake at sunrise" --out lake.png --seed 7
    """
    request = PictureRequest(
        mode="generate",
        bundle=bundle,
        prompt=prompt,
        out=out,
        seed=seed,
        steps=steps,
        latents=latents,
        threads=threads,
        frugal=frugal,
        emulator=emulator,
        rounding=check_rounding(rounding),
        size=size,
    )
    show(request, draw(request), json_output)


def edit(
    bundle: BundleArgument,
    image: Annotated[Path, typer.Argument(help="The picture to change.")],
    instruction: Annotated[str, typer.Argument(help="How to change it.")],
    out: OutOption,
    seed: SeedOption = 0,
    steps: StepsOption = 4,
    size: EditSizeOption = None,
    latents: LatentsOption = None,
    threads: ThreadsOption = None,
    frugal: FrugalOption = False,
    emulator: EmulatorOption = False,
    rounding: RoundingOption = "fp16",
    json_output: JsonOption = False,
) -> None:
    """Edit a picture by an instruction.

    Example: dreamlite edit bundle lake.png "make it snowy" --out snowy.png
    """
    request = PictureRequest(
        mode="edit",
        bundle=bundle,
        prompt=instruction,
        out=out,
        seed=seed,
        steps=steps,
        latents=latents,
        threads=threads,
        frugal=frugal,
        picture=image,
        emulator=emulator,
        rounding=check_rounding(rounding),
        size=size,
    )
    show(request, draw(request), json_output)


def draw(request: PictureRequest) -> Stages:
    """Make and write the picture; returns what each stage took. What can be refused is refused before any work."""
    prepare_for(request.bundle, request.emulator)
    quiet_libraries()
    from dreamlite_mobile.images import check_output, load_image, save_png
    from dreamlite_mobile.noise import initial_latents, load_latents
    from dreamlite_mobile.pipeline import finish
    from dreamlite_mobile.runtime.session import Session
    from dreamlite_mobile.scheduler import check_steps

    begin = time.perf_counter()
    check_steps(request.steps)
    check_output(request.out)
    source = None if request.picture is None else load_image(request.picture)
    bundle = sized(open_checked(request.bundle), request.size, source)
    bundle.require(request.mode)
    opened = time.perf_counter()
    stages = Stages()
    with (
        Session(bundle, request.threads, request.frugal, request.emulator, request.rounding) as session,
        task(stderr, request.mode, request.steps) as advance,
    ):
        pipeline = session.pipeline()
        layout = pipeline.prompts.generate if request.mode == "generate" else pipeline.prompts.edit
        warning = layout(request.prompt).warning
        if warning is not None:
            notice(warning)
        shape = pipeline.latents_shape
        noise = (
            initial_latents(request.seed, shape) if request.latents is None else load_latents(request.latents, shape)
        )
        if source is None:
            run = pipeline.generate(request.prompt, noise, request.steps, stages)
        else:
            run = pipeline.edit(source, request.prompt, noise, request.steps, stages)
        result = finish(run, lambda _: advance(1))
    save_png(result.picture, request.out, png_text(request, bundle))
    host = time.perf_counter() - opened - sum(stages.seconds.values())
    stages.seconds = {"start-up": opened - begin, **stages.seconds, "host work": host}
    return stages


def checked(path: Path, work: Callable[[Advance], T]) -> T:
    """Run work that reports bytes, with a bar over the folder's size."""
    total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else None
    with task(stderr, "checking the bundle", total) as advance:
        return work(advance)


def open_checked(path: Path) -> "Bundle":
    """A bundle, every file of it checked, with a bar."""
    from dreamlite_mobile.bundle import open_bundle

    return checked(path, lambda progress: open_bundle(path, progress=progress))


def sized(bundle: "Bundle", size: str | None, source: "Image.Image | None") -> "Bundle":
    """The bundle in the size that was asked for; for an edit without one, in the size shaped most like its source."""
    from dreamlite_mobile.images import nearest_shape

    if size is None and source is not None:
        return bundle.at(nearest_shape(bundle.sizes, *source.size))
    return chosen_size(bundle, size, "drawn")


def png_text(request: PictureRequest, bundle: "Bundle") -> dict[str, str]:
    """The text chunks of the picture."""
    manifest = bundle.manifest
    precisions = ", ".join(f"{name}={entry.precision}" for name, entry in manifest.components.items())
    noise = f"seed {request.seed}, {manifest.noise}" if request.latents is None else f"file {request.latents.name}"
    return {
        "Software": f"dreamlite_mobile {manifest.tools.dreamlite_mobile}",
        "prompt": request.prompt,
        "mode": request.mode,
        "seed": "" if request.latents is not None else str(request.seed),
        "noise": noise,
        "steps": str(request.steps),
        "size": size_text(bundle.size.sides),
        "model": manifest.checkpoint.source,
        "checkpoint_sha256": manifest.checkpoint.sha256,
        "backend": manifest.backend,
        "precision": precisions,
    }


def show(request: PictureRequest, stages: Stages, json_output: bool) -> None:
    """Where the time and the memory went."""
    if json_output:
        print_json(
            {
                "picture": str(request.out),
                "mode": request.mode,
                "steps": request.steps,
                "seconds": {name: round(value, 4) for name, value in stages.seconds.items()},
                "peak_memory_bytes": stages.peak_bytes,
            }
        )
        return
    rows = [
        [name, f"{value:.2f} s", megabytes(stages.peak_bytes[name]) if name in stages.peak_bytes else ""]
        for name, value in stages.seconds.items()
    ]
    rows.append(["total", f"{sum(stages.seconds.values()):.2f} s", megabytes(max(stages.peak_bytes.values()))])
    title = f"{request.out}: {request.mode}, {request.steps} steps"
    table(title, ["stage", "time", "peak memory of the process"], rows, right=(1, 2))
