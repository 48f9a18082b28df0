"""`dreamlite demo`: the whole path on the embedded checkpoint, and a report of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import JsonOption, notice, print_json, quiet_libraries, stderr, stdout
from dreamlite_mobile.errors import OutputError

if TYPE_CHECKING:
    from dreamlite_mobile.cli.judge import Judgement
    from export.driver import Exported

PRECISIONS = ("fp32", "w8", "w4")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, bundles, pictures and report.html.")] = Path("out"),
    size: Annotated[str, typer.Option(help="Picture size: a side or WIDTHxHEIGHT, multiples of 32.")] = "256",
    json_output: JsonOption = False,
) -> None:
    """Export the embedded checkpoint, generate and edit a picture through the files, prove parity, write a report.

    Example: dreamlite demo --out out
    """
    quiet_libraries()
    from dreamlite_mobile.cli.export import show_exported
    from dreamlite_mobile.cli.judge import JudgeRequest, judge
    from dreamlite_mobile.cli.reporting import check_all, print_judgements, report_json, write_report
    from dreamlite_mobile.config import TINY
    from dreamlite_mobile.images import check_size, parse_size
    from dreamlite_mobile.parity.published import missing_packages
    from dreamlite_mobile.tiny.embedded import embedded_checkpoint

    check_size(*parse_size(size), TINY.size_multiple)
    lacking = missing_packages()
    if lacking:
        notice(f"{', '.join(lacking)} not installed: the published pipeline is left out of the comparison")
    make_folder(out)
    checkpoint = embedded_checkpoint(out / "checkpoint")
    made = [export_embedded(checkpoint, out / "bundle-onnx", size, backend="onnx")]
    judgements = []
    for precision in PRECISIONS:
        earlier = tuple(done.bundle.path for done in made[1:])
        made.append(export_embedded(checkpoint, out / f"bundle-{precision}", size, precision, reuse=earlier))
        published = precision == "fp32" and not lacking
        request = JudgeRequest(made[-1].bundle.path, str(checkpoint), published, referee=made[0].bundle.path)
        judgements.append(judge(request))
        save_pictures(judgements[-1], out)
    report = write_report(out / "report.html", judgements, [f"dreamlite demo --out {out.name} --size {size}"])
    if json_output:
        print_json(report_json(judgements) | {"report": str(report)})
    else:
        for done in made:
            show_exported(done)
        print_judgements(judgements)
        stdout.print(f"report: {report}", markup=False)
    check_all(judgements)


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
    return make_bundle(planned(str(checkpoint), backend, precision, size, reuse=reuse), bundle, force=True)


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
