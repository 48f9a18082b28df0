"""`dreamlite demo`: the whole path on the embedded checkpoint, and a report of it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import JsonOption, notice, print_json, quiet_libraries, stderr, stdout

if TYPE_CHECKING:
    from dreamlite_mobile.cli.judge import Judgement

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
    from dreamlite_mobile.cli.judge import JudgeRequest, judge
    from dreamlite_mobile.cli.reporting import check_all, print_judgement, report_json, write_report
    from dreamlite_mobile.parity.published import missing_packages
    from dreamlite_mobile.tiny.embedded import embedded_checkpoint

    lacking = missing_packages()
    if lacking:
        notice(f"{', '.join(lacking)} not installed: the published pipeline is left out of the comparison")
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = embedded_checkpoint(out / "checkpoint")
    judgements = []
    for precision in PRECISIONS:
        bundle = out / f"bundle-{precision}"
        stderr.print(f"exporting {bundle}", style="bold", markup=False)
        export_embedded(checkpoint, bundle, precision, size)
        request = JudgeRequest(bundle, str(checkpoint), published=precision == "fp32" and not lacking)
        judgements.append(judge(request))
        save_pictures(judgements[-1], out)
    report = write_report(out / "report.html", judgements, [f"dreamlite demo --out {out.name} --size {size}"])
    if json_output:
        print_json(report_json(judgements) | {"report": str(report)})
    else:
        for judgement in judgements:
            print_judgement(judgement)
        stdout.print(f"report: {report}", markup=False)
    check_all(judgements)


def export_embedded(checkpoint: Path, bundle: Path, precision: str, size: str) -> None:
    """One XNNPACK bundle of the embedded checkpoint, through the same door as any other."""
    from dreamlite_mobile.cli.export import export

    if bundle.exists():
        shutil.rmtree(bundle)
    export(str(checkpoint), bundle, precision=precision, size=size)


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
