"""`dreamlite estimate`: what a bundle would take on a Snapdragon's HTP, without the phone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import (
    ChosenSizeOption,
    JsonOption,
    StepsOption,
    chosen_size,
    gigabytes,
    names,
    notice,
    print_json,
    quiet_libraries,
    stderr,
    table,
)
from dreamlite_mobile.components import MODES, check_names, size_text

if TYPE_CHECKING:
    from dreamlite_mobile.latency.picture import Estimate
    from dreamlite_mobile.latency.rates import Rates

LIMITS = (
    "whole graphs on the HTP of the phones that Qualcomm measured; not: loading, the app's own work between the calls, "
    "heat, other apps, operators that a compiler cuts differently"
)


def estimate(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder made by `dreamlite export`.")],
    soc: Annotated[
        str | None, typer.Option(help="The Snapdragon, such as SM8650; by default the bundle's own, or SM8650.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Estimate all components as if compiled in this precision: fp16, w8a16, w4a16, w8a8 or w8a8mix. "
            "Bundles for another backend need it."
        ),
    ] = None,
    mode: Annotated[str | None, typer.Option(help="generate, edit or both; by default what the bundle has.")] = None,
    steps: StepsOption = 4,
    size: ChosenSizeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Predict what a picture takes on a Snapdragon's HTP, by stage, with the interval that the prediction deserves.

    Rates are fitted on published measurements of other networks (benchmarks/latency_model): no phone was involved.

    Example: dreamlite estimate bundle --soc SM8650
    """
    quiet_libraries()
    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.bundle_files import read_manifest
    from dreamlite_mobile.latency.picture import add_up, calls_of, check_bundle
    from dreamlite_mobile.latency.rates import packaged_rates
    from dreamlite_mobile.scheduler import check_steps
    from export.targets import DEFAULT_SOC, target

    check_steps(steps)
    manifest = read_manifest(bundle)
    chosen = names(mode, "--mode") or manifest.modes
    check_names("mode", chosen, MODES)
    own = manifest.target if manifest.backend == "qnn" else DEFAULT_SOC
    chip, rates = target(own if soc is None else soc).soc, packaged_rates()
    rates.chip(chip)
    check_bundle(manifest, chosen, precision)
    drawn = chosen_size(Bundle(bundle, manifest), size, "estimated").size.sides
    with stderr.status("counting") as status:
        found = [
            add_up(rates, chip, one, calls_of(manifest, one, steps, precision, status.update, drawn)) for one in chosen
        ]
    if json_output:
        print_json(
            {
                "version": 1,
                "bundle": str(bundle),
                "soc": chip,
                "size": size_text(drawn),
                "steps": steps,
                "fitted_on": {"measurements": rates.measurements, "networks": rates.networks},
                "not_included": LIMITS,
                "estimates": [one.as_json() for one in found],
            }
        )
        return
    for one in found:
        show(f"{bundle.resolve().name}, {size_text(drawn)}", one, rates)
    if any(one.extrapolated for one in found):
        notice("no published network has linear layers in 8-bit activations on the HTP: those rates are extrapolated")
    notice(f"predicted: {LIMITS}")
    if manifest.backend == "qnn" and chip != manifest.target:
        notice(f"the bundle is compiled for {manifest.target}: {chip} needs an export of its own (--soc {chip})")


def show(bundle: str, found: "Estimate", rates: "Rates") -> None:
    """The stage table and how far to trust it."""
    rows = [
        [stage.name, stage.call.precision, f"{stage.call.work.macs / 1e9:,.1f}", gigabytes(round(stage.each.bytes)),
         "traced" if stage.call.traffic is None else "compiler", f"{stage.each.ms:,.1f}", f"{stage.ms:,.1f}",
         f"{stage.ms / 1000:.1%}"]
        for stage in found.stages
    ]  # fmt: skip
    rows.append(["total", "", "", "", "", "", f"{found.ms:,.1f}", f"{found.ms / 1000:.1%}"])
    columns = ["stage", "precision", "GMAC", "DDR", "bytes by", "ms a call", "ms", "of a second"]
    table(f"{bundle}: {found.mode} on {found.soc}, predicted", columns, rows, right=(2, 3, 5, 6, 7))
    largest = sorted(found.parts.items(), key=lambda one: -one[1])
    notice(f"{found.mode}: " + ", ".join(f"{part} {ms / found.ms:.0%}" for part, ms in largest))
    held = "all" if found.extrapolated else "four of five"
    notice(
        f"{found.mode}: {found.low:,.0f} to {found.high:,.0f} ms: so wide an interval holds {held} of "
        f"{rates.measurements} published measurements, each predicted without its network"
    )
