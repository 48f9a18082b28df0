"""The components of an opened bundle, by the backend its manifest names."""

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime import Component
from dreamlite_mobile.runtime.embeddings import EmbeddingTable, StepEmbeddings
from dreamlite_mobile.runtime.rounding import Rounding


def load_component(
    bundle: Bundle,
    name: str,
    *,
    threads: int | None = None,
    emulator: bool = False,
    rounding: Rounding = "fp16",
) -> Component:
    """One component of the bundle; its program is loaded by the first `run`.

    Args:
        rounding: of the activations where Core ML packages are evaluated, which is everywhere but on macOS.

    Raises:
        BundleError: a component the bundle lacks, a backend this machine cannot run, or another executorch than the
            one the bundle needs, or an older QNN.
    """
    entry = bundle.component(name)
    match bundle.manifest.backend:
        case "xnnpack":
            return _executorch_component(bundle, name, threads)
        case "qnn" if emulator:
            from dreamlite_mobile.runtime.qnn import check_qnn

            check_qnn(bundle)
            return _executorch_component(bundle, name, threads)
        case "onnx":
            from dreamlite_mobile.runtime.onnx import OnnxComponent

            paths = {method: bundle.file(spec.file) for method, spec in entry.methods.items()}
            return OnnxComponent(paths, entry.methods, name=name, threads=threads)
        case "coreml":
            from dreamlite_mobile.runtime.coreml import CoreMLComponent

            programs = {
                method: [bundle.file(file) for file in (spec.file, *spec.then)]
                for method, spec in entry.methods.items()
            }
            made = bundle.manifest.coreml
            assert made is not None
            return CoreMLComponent(
                programs,
                entry.methods,
                name=name,
                threads=threads,
                rounding=rounding,
                compute_units=made.compute_units,
            )
        case other:
            raise BundleError(
                f"{bundle.path}: made for {other} ({bundle.manifest.target}), which does not run on this machine as it "
                "is. Use it on the phone, or --emulator for qnn."
            )


def _executorch_component(bundle: Bundle, name: str, threads: int | None) -> Component:
    """Over one `.pte`, or over a chain of them where the component is cut into shards."""
    from dreamlite_mobile.runtime.executorch import ExecuTorchComponent, check_version

    check_version(bundle.path, bundle.manifest.needs.executorch)
    entry = bundle.component(name)
    if any(spec.shards for spec in entry.methods.values()):
        from dreamlite_mobile.runtime.executorch_chain import ExecuTorchChain

        chains = {
            method: [bundle.file(file) for file in (spec.file, *spec.then)] for method, spec in entry.methods.items()
        }
        return ExecuTorchChain(chains, entry.methods, name=name, threads=threads)
    program = next(iter(entry.methods.values())).file
    return ExecuTorchComponent(bundle.file(program), entry.methods, name=name, threads=threads)


def load_embeddings(bundle: Bundle) -> EmbeddingTable:
    """The token embeddings; BundleError for a bundle without a text encoder."""
    entry = bundle.manifest.embeddings
    if entry is None:
        raise BundleError(f"{bundle.path}: has no embedding table. Export it again with the text_encoder.")
    return EmbeddingTable.of(bundle.file(entry.file), entry)


def load_step_embeddings(bundle: Bundle) -> StepEmbeddings:
    """The step embeddings of the size that is drawn; BundleError for a bundle without a U-Net."""
    entry = bundle.size.step_embeddings
    if entry is None:
        raise BundleError(f"{bundle.path}: has no step-embedding table. Export it again with the unet.")
    return StepEmbeddings.of(bundle.file(entry.file), entry)
