"""`dreamlite demo`: the whole path on the embedded checkpoint, and a report of it."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import JsonOption, notice, print_json, quiet_libraries, stderr, stdout
from dreamlite_mobile.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

    from dreamlite_mobile.cli.judge import Judgement, JudgeRequest
    from export.driver import Exported

PRECISIONS = ("fp32", "w8", "w4")
SHEET_NAMES = {"generate": "generations.jpg", "edit": "edits.jpg"}
"""Contact sheets of what fp32 files drew."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, bundles, pictures and report.html.")] = Path("out"),
    size: Annotated[
        str, typer.Option(help="Picture size: a side (or WIDTHxHEIGHT with --score 0), a multiple of 32.")
    ] = "128",
    score: Annotated[
        int, typer.Option(min=0, help="Pictures of each of four groups to score before and after; 0 leaves it out.")
    ] = 18,
    json_output: JsonOption = False,
) -> None:
    """Export the embedded checkpoint, generate and edit through the files, score them, prove parity, write a report.

    The checkpoint was trained on pictures of 128x128; at other sizes it draws less well.

    Example: dreamlite demo --out out
    """
    quiet_libraries()
    from dreamlite_mobile.cli.export import show_exported
    from dreamlite_mobile.cli.judge import judge_all
    from dreamlite_mobile.cli.reporting import check_all, print_judgements, report_json, write_report
    from dreamlite_mobile.config import EMBEDDED
    from dreamlite_mobile.images import check_size, parse_size
    from dreamlite_mobile.tiny.embedded import embedded_checkpoint, told, training_record
    from dreamlite_mobile.tiny.evaluate import check_square

    check_size(*parse_size(size), EMBEDDED.size_multiple)
    if score:
        check_square(*parse_size(size))
    make_folder(out)
    checkpoint = embedded_checkpoint(out / "checkpoint")
    made = [export_embedded(checkpoint, out / "bundle-onnx", size, backend="onnx")]
    for precision in PRECISIONS:
        earlier = tuple(done.bundle.path for done in made[1:])
        made.append(export_embedded(checkpoint, out / f"bundle-{precision}", size, precision, reuse=earlier))
    judgements = judge_all(requests([done.bundle.path for done in made], checkpoint, score or None))
    for judgement in judgements:
        save_pictures(judgement, out)
    save_sheets(judgements[0], out)
    command = f"dreamlite demo --out {out.name} --size {size} --score {score}"
    report = write_report(out / "report.html", judgements, [command], notes=[told(training_record(checkpoint))])
    if json_output:
        print_json(report_json(judgements) | {"report": str(report)})
    else:
        for done in made:
            show_exported(done)
        print_judgements(judgements)
        stdout.print(f"report: {report}", markup=False)
    check_all(judgements)


def requests(bundles: list[Path], checkpoint: Path, score: int | None) -> "list[JudgeRequest]":
    """What to judge: every bundle after the first, which is the ONNX referee; the first of them by the published
    pipeline as well."""
    from dreamlite_mobile.cli.judge import JudgeRequest
    from dreamlite_mobile.parity.published import missing_packages

    lacking = missing_packages()
    if lacking:
        notice(f"{', '.join(lacking)} not installed: the published pipeline is left out of the comparison")
    referee, *judged = bundles
    return [
        JudgeRequest(bundle, str(checkpoint), bundle == judged[0] and not lacking, referee=referee, score=score)
        for bundle in judged
    ]


def export_embedded(
    checkpoint: Path,
    bundle: Path,
    size: str,
    precision: str = "fp32",
    backend: str = "xnnpack",
    reuse: tuple[Path, ...] = (),
) -> "Exported":
    """A bundle of the embedded checkpoint, made as any other would be."""
    from dreamlite_mobile.cli.export import make_bundle, planned

    stderr.print(f"exporting {bundle}", style="bold", markup=False)
    return make_bundle(planned(str(checkpoint), backend, precision, (size,), reuse=reuse), bundle, force=True)


def make_folder(folder: Path) -> None:
    """The folder and its parents; OutputError when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"--out {folder}: no folder can be made there ({error.strerror}); name another place"
        ) from error


def save_pictures(judgement: "Judgement", out: Path) -> None:
    """The pictures made through the exported files."""
    from dreamlite_mobile.images import save_png

    backend = judgement.bundle.manifest.backend
    for drawn in judgement.drawn:
        if drawn.side == backend:
            text = {"prompt": judgement.request.prompt, "mode": drawn.mode, "seed": str(judgement.request.seed)}
            save_png(
                drawn.picture, out / f"{drawn.mode}-{judgement.bundle.path.name.removeprefix('bundle-')}.png", text
            )


def save_sheets(judgement: "Judgement", out: Path) -> None:
    """What the score drew through a bundle's files, small enough for a README."""
    from dreamlite_mobile.cli.report_parts import sheet_images
    from dreamlite_mobile.files import write_atomic

    if judgement.scored is not None:
        for group, image in sheet_images(judgement.scored.after).items():
            write_atomic(out / SHEET_NAMES[group], jpeg(image))


def jpeg(image: "Image.Image") -> bytes:
    """Compressed, without visible loss on flat shapes."""
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=88, optimize=True)
    return stream.getvalue()
