"""One module as a bundle of its own: exported by a bundle's backend, run by its runtime. Knows no backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_fields import Precision
from dreamlite_mobile.bundle_programs import ComponentEntry, MethodEntry, TensorSpec
from dreamlite_mobile.bundle_schema import FileEntry
from dreamlite_mobile.components import FORWARD, ComponentSpec, MethodSpec
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.runtime import Array
from dreamlite_mobile.runtime.load import load_component

if TYPE_CHECKING:
    from export.backends import Written


def export_module(bundle: Bundle, spec: ComponentSpec, module: nn.Module, precision: Precision, folder: Path) -> Bundle:
    """Export a module with one method (`forward`) as the bundle's components were, into a folder that is made.

    Returns:
        The bundle's manifest over that folder, with this one component. It is for running, not for shipping.

    Raises:
        ExportError: what the backend cannot lower.
    """
    from export.probe import exporter_of

    folder.mkdir(parents=True)
    written = exporter_of(bundle.manifest).write(spec, {FORWARD: module}, precision, folder)
    entry = ComponentEntry(
        files=written.files,
        precision=precision,
        methods={FORWARD: method_entry(spec.methods[FORWARD], written)},
    )
    return over(bundle, folder, spec.name, entry)


def method_entry(method: MethodSpec, written: "Written") -> MethodEntry:
    """The only method as the manifest states it."""
    inputs, outputs = (
        tuple(TensorSpec(name=tensor.name, shape=tensor.shape) for tensor in tensors)
        for tensors in (method.inputs, method.outputs)
    )
    return MethodEntry(
        file=written.method_files[FORWARD],
        then=written.then.get(FORWARD, ()),
        shards=written.shards.get(FORWARD, ()),
        inputs=inputs,
        outputs=outputs,
    )


def over(bundle: Bundle, folder: Path, name: str, entry: ComponentEntry) -> Bundle:
    """The bundle with one other component, whose files lie in the folder."""
    files = {
        file: FileEntry(bytes=(folder / file).stat().st_size, sha256=sha256_file(folder / file)) for file in entry.files
    }
    return Bundle(folder, bundle.manifest.model_copy(update={"components": {name: entry}, "files": files}))


def run_module(bundle: Bundle, name: str, inputs: Mapping[str, Array], method: str = FORWARD) -> dict[str, Array]:
    """Load one component (a chip's on its emulator), run it once, unload it."""
    component = load_component(bundle, name, emulator=True)
    try:
        return component.run(method, inputs)
    finally:
        component.unload()
