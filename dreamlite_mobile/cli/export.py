"""`dreamlite export` and `dreamlite make-checkpoint`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dreamlite_mobile.bundle_fields import Backend, Mode
from dreamlite_mobile.cli.shared import (
    ForceOption,
    JsonOption,
    MaxMemoryOption,
    SizesOption,
    gigabytes,
    megabytes,
    names,
    print_json,
    quiet_libraries,
    stderr,
    table,
    with_qnn,
)
from dreamlite_mobile.components import MODES, check_names, sizes_text
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.progress import task

if TYPE_CHECKING:
    from dreamlite_mobile.measure import Cost
    from export.backends import Cutting
    from export.driver import Exported, Plan
    from export.estimate import Expected


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint folder, or a hub id such as carlofkl/DreamLite-mobile.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle folder to make.")],
    backend: Annotated[
        str,
        typer.Option(
            help="xnnpack (.pte for the CPU), qnn (.pte for a Snapdragon), coreml (.mlpackage for iOS 18) or onnx."
        ),
    ] = "xnnpack",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, w8 or w4 (xnnpack), fp16, w8a16, w4a16 or w8a8mix (qnn), fp16, w8, p6 or p4 (coreml), then "
            "component=precision pairs: 'w4,unet=fp32'. By default the backend's first."
        ),
    ] = None,
    soc: Annotated[
        str | None, typer.Option(help="The Snapdragon that qnn files are for (see `dreamlite targets`): SM8650.")
    ] = None,
    size: SizesOption = None,
    emulator: Annotated[
        bool,
        typer.Option("--emulator", help="qnn files that the HTP emulator here can run: larger, and not for the phone."),
    ] = False,
    package_mb: Annotated[
        int | None,
        typer.Option(help="Core ML: cut a component with more megabytes of weights into several packages; 1000."),
    ] = None,
    shards: Annotated[
        str,
        typer.Option(
            help="qnn: cut each large component into so many programs that run in turn; auto, or a number. auto cuts "
            "the published U-Net in fp16 into 133 phases, which move about half of what 6 shards at its blocks do."
        ),
    ] = "auto",
    calibration_pictures: Annotated[
        int | None,
        typer.Option(
            help="qnn in integers: pictures that the fp32 networks draw in each mode to see what codes must hold; 12. "
            "Fewer take less time at full size, and leave less room."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Components (qnn: shards) lowered at a time, in processes of their own; with --max-memory "
            "one per core, memory allowing."
        ),
    ] = None,
    max_memory: MaxMemoryOption = None,
    embeddings: Annotated[
        str,
        typer.Option(
            help="The token table: stored (as in the checkpoint), fp16, or int8 (one scale a row; half of fp16)."
        ),
    ] = "stored",
    precompute_prefix: Annotated[
        bool,
        typer.Option(
            "--precompute-prefix",
            help="The text tower holds what the constant system prefix leaves behind, and runs only the user's tokens.",
        ),
    ] = False,
    components: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    modes: Annotated[str, typer.Option(help="generate, edit or both.")] = "generate,edit",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="A bundle to copy equal components from instead of lowering them again. Repeatable."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Keep every finished component and shard in this folder: an export that was stopped goes on from it."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and its size; write nothing.")
    ] = False,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Export a checkpoint's components into a bundle.

    Examples:

    dreamlite export ./DreamLite-mobile --out bundle --precision w4 --size 512

    dreamlite export ./DreamLite-mobile --out bundle --size 512 --size 512x768 --size 768x512
    """
    if backend == "qnn" and not dry_run:
        with_qnn()
    quiet_libraries()
    from export.estimate import estimate

    plan = planned(
        checkpoint,
        backend,
        precision,
        size or ("1024",),
        names(components),
        names(modes) or (),
        revision,
        tuple(reuse or ()),
        soc,
        emulator,
        package_mb,
        cache,
        cutting_of(shards, jobs, max_memory, cache),
        embeddings,
        precompute_prefix,
        calibration_pictures,
    )
    if dry_run:
        show_estimate(estimate(plan), f"{out}: would be made", json_output)
    else:
        show_exported(make_bundle(plan, out, force), json_output)


def planned(
    checkpoint: str,
    backend: str,
    precision: str | None,
    sizes: Sequence[str],
    components: tuple[str, ...] | None = None,
    modes: tuple[str, ...] = MODES,
    revision: str | None = None,
    reuse: tuple[Path, ...] = (),
    soc: str | None = None,
    emulator: bool = False,
    package_mb: int | None = None,
    cache: Path | None = None,
    cutting: "Cutting | None" = None,
    embeddings: str = "stored",
    precompute_prefix: bool = False,
    calibration_pictures: int | None = None,
) -> "Plan":
    """A checked export; nothing is written. A local folder is recorded by its name only."""
    from dreamlite_mobile.bundle import open_bundle
    from dreamlite_mobile.checkpoint import open_checkpoint, resolve_checkpoint
    from dreamlite_mobile.images import parse_size
    from export.driver import ExportRequest, plan_export
    from export.embeddings import storage

    (width, height), *further = map(parse_size, sizes)
    how = storage(embeddings)
    check_names("mode", modes, MODES)
    with task(stderr, "opening the checkpoint"):
        opened = open_checkpoint(resolve_checkpoint(checkpoint, revision))
    request = ExportRequest(
        checkpoint=opened,
        source=Path(checkpoint).resolve().name if Path(checkpoint).exists() else checkpoint,
        backend=cast("Backend", backend),
        width=width,
        height=height,
        revision=revision,
        precision=precision,
        modes=tuple(cast("Mode", mode) for mode in MODES if mode in modes),
        components=components,
        reuse=tuple(open_bundle(path) for path in reuse),
        soc=soc,
        emulator=emulator,
        package_mb=package_mb,
        cache=cache,
        cutting=cutting,
        embeddings=how,
        precompute_prefix=precompute_prefix,
        further=tuple(further),
        calibration_pictures=calibration_pictures,
    )
    return plan_export(request)


def cutting_of(shards: str, jobs: int | None, max_memory: str | None, cache: Path | None) -> "Cutting":
    """How to cut and within what; ConfigError for a number of shards that is none."""
    from export.backends import Cutting
    from export.memory import parse_memory

    if shards != "auto" and not shards.isdecimal():
        raise ConfigError(f"--shards {shards}: expected auto or a number, for instance 6")
    memory = None if max_memory is None else parse_memory(max_memory)
    return Cutting(None if shards == "auto" else int(shards), jobs, memory, cache)


def make_bundle(plan: "Plan", out: Path, force: bool) -> "Exported":
    """Run an export with progress on stderr."""
    from export.driver import run_export

    with task(stderr, "exporting", total=len(plan.specs) + 3) as advance:

        def notify(what: str) -> None:
            stderr.print(f"  {what}", markup=False)
            advance(1)

        def tell(what: str) -> None:
            stderr.print(f"    {what}", markup=False)

        return run_export(plan, out, replace=force, notify=notify, tell=tell)


def show_estimate(estimate: "list[Expected]", title: str, json_output: bool) -> None:
    """What a dry run found: file, precision and expected size of each component."""
    total = sum(item.expected_bytes for item in estimate)
    if json_output:
        files = [
            {
                "name": item.name,
                "precision": item.precision,
                "methods": item.methods,
                "expected_bytes": item.expected_bytes,
                "expected_memory_bytes": item.memory_bytes,
            }
            for item in estimate
        ]
        print_json({"would_make": files, "expected_bytes": total})
        return
    rows = [
        [item.name, item.precision, ", ".join(item.methods), megabytes(item.expected_bytes),
         gigabytes(item.memory_bytes) if item.memory_bytes else "-"]
        for item in estimate
    ]  # fmt: skip
    columns = ["part", "precision", "methods", "expected", "peak memory"]
    table(title, columns, [*rows, ["total", "", "", megabytes(total), ""]], right=(3, 4))


def show_exported(done: "Exported", json_output: bool = False) -> None:
    """The finished bundle: size, delegates, time and peak memory per component."""
    bundle = done.bundle
    manifest = bundle.manifest
    if json_output:
        print_json(
            {
                "bundle": str(bundle.path),
                "seconds": round(done.seconds, 2),
                "bytes": sum(entry.bytes for entry in manifest.files.values()),
                "components": {
                    name: {
                        "precision": entry.precision,
                        "bytes": sum(manifest.files[file].bytes for file in entry.files),
                        **cost_json(done.costs.get(name)),
                        "delegates": {
                            method: spec.delegates.model_dump()
                            for method, spec in entry.methods.items()
                            if spec.delegates
                        },
                    }
                    for name, entry in manifest.components.items()
                },
            }
        )
        return
    rows = []
    for name, entry in manifest.components.items():
        size = sum(manifest.files[file].bytes for file in entry.files)
        delegates = [
            f"{method}: {spec.delegates.count} delegate{'s' * (spec.delegates.count != 1)}, "
            f"{len(spec.delegates.operators_outside)} outside"
            for method, spec in entry.methods.items()
            if spec.delegates
        ]
        rows.append(
            [
                name,
                entry.precision,
                megabytes(size),
                *cost_cells(done.costs.get(name)),
                "\n".join(delegates) or "-",
            ]
        )
    table(
        f"{bundle.path}: {sizes_text(bundle.sizes)}, {done.seconds:.0f} s",
        ["component", "precision", "size", "time", "peak memory", "delegates"],
        rows,
        right=(2, 3, 4),
    )


def cost_json(cost: "Cost | None") -> dict[str, Any]:
    """Nulls for what was copied."""
    if cost is None:
        return {"seconds": None, "peak_memory_bytes": None}
    return {"seconds": round(cost.seconds, 2), "peak_memory_bytes": cost.peak_bytes}


def cost_cells(cost: "Cost | None") -> tuple[str, str]:
    return ("copied", "-") if cost is None else (f"{cost.seconds:.1f} s", gigabytes(cost.peak_bytes))


def make_checkpoint(
    out: Annotated[Path, typer.Argument(help="The checkpoint folder to make.")],
    config: Annotated[str, typer.Option(help="tiny, embedded or mobile (the published configuration, 5 GB).")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Make a synthetic checkpoint: seeded random weights in the published layout.

    Example: dreamlite make-checkpoint --config tiny --seed 0 tiny-checkpoint
    """
    from dreamlite_mobile import synthetic

    with task(stderr, f"making the {config} checkpoint", total=synthetic.count_weights(config)) as advance:
        path = synthetic.make_checkpoint(config, seed, out, progress=advance, force=force)
    if json_output:
        print_json({"checkpoint": str(path), "config": config, "seed": seed})
    else:
        typer.echo(f"{path}: {config} checkpoint with seed {seed}")
