"""The ONNX referee: the same components through another exporter and runtime, so that a bundle is judged by two."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.bundle_schema import Manifest
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.cli.shared import stderr
from dreamlite_mobile.components import size_text, sizes_text
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.progress import task


def export_referee(bundle: Bundle, checkpoint: Checkpoint, stack: ExitStack) -> Path:
    """The bundle's components in ONNX, in a folder that goes when the stack closes."""
    from export.driver import ExportRequest, plan_export, run_export

    manifest = bundle.manifest
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dreamlite-referee-"))) / "onnx"
    request = ExportRequest(
        checkpoint=checkpoint,
        source=manifest.checkpoint.source,
        backend="onnx",
        width=bundle.sizes[0][0],
        height=bundle.sizes[0][1],
        further=bundle.sizes[1:],
        modes=manifest.modes,
        components=tuple(manifest.components),
    )
    plan = plan_export(request)
    with task(stderr, "exporting the ONNX referee", len(plan.specs) + 3) as advance:
        return run_export(plan, folder, notify=lambda _: advance(1)).bundle.path


def referee_for(bundle: Bundle, folder: Path) -> Bundle:
    """An ONNX bundle that can judge this one; BundleError when it is of another checkpoint, size or backend."""
    referee = open_bundle(folder)
    mine, its = bundle.manifest, referee.manifest
    for what, found, wanted in (
        ("backend", its.backend, "onnx"),
        ("checkpoint", its.checkpoint.sha256, mine.checkpoint.sha256),
        ("sizes", sizes_text(referee.sizes), sizes_text(bundle.sizes)),
        ("methods", sorted(methods_of(its) & methods_of(mine)), sorted(methods_of(mine))),
    ):
        if found != wanted:
            sizes = " ".join(f"--size {size_text(size)}" for size in bundle.sizes)
            raise BundleError(
                f"{folder}: as referee for {bundle.path} it has {what} {found}, expected {wanted}. Export one with "
                f"--backend onnx {sizes} from the same checkpoint."
            )
    return referee


def methods_of(manifest: Manifest) -> set[str]:
    """`component.method` of everything a bundle can run."""
    return {f"{name}.{method}" for name, entry in manifest.components.items() for method in entry.methods}


def referee_key(bundle: Bundle) -> tuple[object, ...]:
    """What an exported referee is made for."""
    manifest = bundle.manifest
    return manifest.checkpoint.sha256, bundle.sizes, frozenset(manifest.modes), frozenset(manifest.components)
