"""`dreamlite parity`, `verify`, `inspect` and `doctor`: what can be said about a bundle and this machine."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from dreamlite_mobile.cli.pictures import BundleArgument, checked
from dreamlite_mobile.cli.shared import (
    JsonOption,
    RoundingOption,
    ThreadsOption,
    megabytes,
    names,
    prepare_for_all,
    print_json,
    stderr,
    stdout,
    table,
)
from dreamlite_mobile.components import sizes_text
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.parity.tolerance import TOLERANCE_DB


def verify(bundle: BundleArgument, json_output: JsonOption = False) -> None:
    """Check every file of a bundle against its manifest; list everything that is wrong.

    Example: dreamlite verify bundle
    """
    from dreamlite_mobile.bundle import verify_bundle

    problems = checked(bundle, lambda progress: verify_bundle(bundle, progress))
    if json_output:
        print_json({"bundle": str(bundle), "sound": not problems, "problems": problems})
    elif not problems:
        stdout.print(f"{bundle}: sound", markup=False)
    if problems:
        if not json_output:
            for problem in problems:
                stderr.print(f"  {problem}", markup=False, soft_wrap=True)
        raise BundleError(f"{bundle}: {len(problems)} problem{'s' * (len(problems) != 1)} found")


def inspect(bundle: BundleArgument, json_output: JsonOption = False) -> None:
    """Show what a bundle holds, without reading its weights.

    Example: dreamlite inspect bundle --json
    """
    from dreamlite_mobile.bundle_files import read_manifest

    manifest = read_manifest(bundle)
    if json_output:
        print_json(manifest.model_dump(mode="json"))
        return
    needs = {name: version for name, version in manifest.needs.model_dump().items() if version}
    tools = {name: version for name, version in manifest.tools.model_dump().items() if version}
    facts = [
        ["backend", f"{manifest.backend} ({manifest.target})"],
        ["size", sizes_text(size.sides for size in manifest.sizes)],
        ["modes", ", ".join(manifest.modes)],
        ["checkpoint", f"{manifest.checkpoint.source} (sha256 {manifest.checkpoint.sha256[:12]}...)"],
        ["made with", ", ".join(f"{name} {version}" for name, version in tools.items())],
        ["needs", ", ".join(f"{name} {version}" for name, version in needs.items())],
        ["files", f"{len(manifest.files)}, {megabytes(sum(file.bytes for file in manifest.files.values()))}"],
        ["licence", manifest.licence],
    ]
    table(str(bundle), ["", ""], facts)
    rows = [
        [
            name,
            entry.precision,
            method,
            "\n".join(f"{tensor.name} {list(tensor.shape)}" for tensor in spec.inputs),
            "\n".join(f"{tensor.name} {list(tensor.shape)}" for tensor in spec.outputs),
            "-"
            if spec.delegates is None
            else f"{spec.delegates.count}, {len(spec.delegates.operators_outside)} outside",
        ]
        for name, entry in manifest.components.items()
        for method, spec in entry.methods.items()
    ]
    table("components", ["component", "precision", "method", "inputs", "outputs", "delegates"], rows)


def parity(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Bundle folders made by `dreamlite export`.")
    ],
    checkpoint: Annotated[
        str | None, typer.Option(help="The checkpoint they were made from; by default the one the manifest names.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="Also compare with the published diffusers pipeline (needs 'test' extra)."),
    ] = False,
    referee: Annotated[
        Path | None, typer.Option(help="An ONNX bundle of the same checkpoint and size; by default one is exported.")
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Components to walk block by block as well, separated by commas.")
    ] = None,
    score: Annotated[
        int | None,
        typer.Option(min=1, help="Also score this many pictures of each group, before and after (`dreamlite score`)."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="An earlier report (what --json printed): what became worse fails.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="With --against: dB that a comparison may lose.")
    ] = TOLERANCE_DB,
    html: Annotated[Path | None, typer.Option(help="Write the report as one self-contained page.")] = None,
    threads: ThreadsOption = None,
    rounding: RoundingOption = "fp16",
    json_output: JsonOption = False,
) -> None:
    """Compare bundles with torch and with the ONNX referee, component by component and as whole pictures.

    Exits with 3 when something is below its floor, does not fit its precision, loses too much of --score, or is worse
    than --against.

    Examples:

    dreamlite parity bundle --checkpoint ./DreamLite-mobile --html report.html

    dreamlite parity fp32 w8 onnx --checkpoint tiny --json --against earlier.json
    """
    from dreamlite_mobile.bundle_files import read_manifest
    from dreamlite_mobile.files import check_file_target
    from dreamlite_mobile.runtime.rounding import check_rounding

    checked_rounding = check_rounding(rounding)
    if html is not None:
        check_file_target(html)
    prepare_for_all(bundles)
    from dreamlite_mobile.cli.judge import JudgeRequest, judge_all
    from dreamlite_mobile.cli.reporting import Output, show_report
    from dreamlite_mobile.parity.diff import check_checkpoints
    from dreamlite_mobile.parity.schema import read_report

    if against is not None:
        sources = {str(bundle): read_manifest(bundle).checkpoint.sha256 for bundle in bundles}
        check_checkpoints(read_report(against), str(against), sources)
    walked = names(blocks) or ()
    requests = [
        JudgeRequest(
            bundle, checkpoint, published, threads, referee, rounding=checked_rounding, blocks=walked, score=score
        )
        for bundle in bundles
    ]
    command = shlex.join(["dreamlite", *sys.argv[1:]])
    show_report(judge_all(requests), Output(html, json_output, against, tolerance, command))


def doctor(json_output: JsonOption = False) -> None:
    """Show what is installed, what each backend lacks, and the mend.

    Example: dreamlite doctor
    """
    from dreamlite_mobile.cli.diagnosis import diagnose

    findings = diagnose()
    if json_output:
        print_json({"findings": [finding.as_json() for finding in findings]})
        return
    rows = [[item.what, item.found or "-", "ok" if item.mend is None else item.mend] for item in findings]
    table("dreamlite doctor", ["what", "found", "state"], rows)


def targets(json_output: JsonOption = False) -> None:
    """Show the Snapdragon chips that HTP files can be made for.

    Example: dreamlite targets
    """
    from export.targets import COMPILER_QNN, CONTEXT_LIMIT_KB, TARGETS

    if json_output:
        print_json({"targets": [row.as_json() for row in TARGETS.values()]})
        return
    rows = [
        [row.soc, row.marketing, f"V{row.htp}", f"{row.vtcm_mb} MB", "yes" if row.fp16 else "no", ", ".join(row.phones)]
        for row in TARGETS.values()
    ]
    table("dreamlite targets", ["SoC", "name", "HTP", "VTCM", "fp16", "phones"], rows)
    stdout.print(f"One context holds at most {CONTEXT_LIMIT_KB:,} KB. The phone needs QNN {COMPILER_QNN} or newer.")
