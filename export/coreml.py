"""Core ML packages (`.mlpackage`, ML programs for iOS 18): converted, compressed, its methods joined, described.

coremltools 9.0 does the first three on Linux too; only running a package needs macOS.
"""

import contextlib
import io
import json
import logging
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from dreamlite_mobile import __version__
from dreamlite_mobile.components import ComponentSpec, MethodSpec, TensorSpec
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.runtime.mil.checks import CONSTANTS
from dreamlite_mobile.runtime.mil.program import read_program
from export.cutting import Part, cut_methods
from export.tracing import trace_module

IOS = "18.0"
MACOS = "15.0"
COMPUTE_UNITS: Literal["cpu_and_neural_engine"] = "cpu_and_neural_engine"
PACKAGE_LIMIT = 1_000_000_000
"""Bytes of weights in one package: larger ones are slow to compile and load on a phone."""
SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
MAIN = "main"
"""The function of a package that has only one."""
GROUP = 16
"""Output channels that share one palette."""
SMALLEST = 2048
"""Weights of fewer numbers stay in fp16."""
BITS = {"fp16": 16, "w8": 8, "p6": 6, "p4": 4}
COMPRESSED = ("linear", "conv", "conv_transpose")
"""Operators whose weights are compressed; constants such as rotary tables and masks are not."""
SENSITIVE = re.compile(r"conv_shortcut|samplers|proj_in|proj_out|encoder_hid_proj|time_emb_proj")
"""Layers of the U-Net that stay in fp16: what they get wrong goes straight into the picture's own path. In the tiny one
they make five sixths of the error of 8 bits (benchmarks/coreml.md)."""
AUTHOR = "dreamlite_mobile"
LICENCE = "Code: Apache-2.0. Weights: the licence of the checkpoint (published DreamLite-mobile: CC BY-NC 4.0)."
MEANING = {
    "embeddings": "token embeddings of the prompt, looked up by the caller",
    "deepstack": "early features of the source picture, from the vision encoder",
    "prompt_states": "states of the prompt's tokens before the final norm, without the system prefix",
    "patches": "the source picture in patches, normalised to [-1, 1]",
    "image_tokens": "one token for each square of patches of the source picture",
    "latents": "latents of a picture, an eighth of its size",
    "condition": "latents of the source picture, or zeros to generate",
    "step_embedding": "embedding of the step and the picture's size",
    "mask": "1 where a prompt state is valid, 0 where it is padding",
    "velocity": "the predicted velocity of the latents",
    "image": "a picture, RGB in [-1, 1]",
}


@dataclass(frozen=True, slots=True)
class Packages:
    """What was written: every file, and each method's programs in the order they are run."""

    files: tuple[str, ...]
    programs: dict[str, tuple[str, ...]]


def write_packages(
    spec: ComponentSpec, modules: Mapping[str, nn.Module], precision: str, folder: Path, limit: int = PACKAGE_LIMIT
) -> Packages:
    """Write `NAME.mlpackage` (or `NAME.1.mlpackage` and so on, where the limit asks for several) into a folder.

    A package with several methods has a function for each, and their weights once.

    Args:
        modules: in the `coreml` form, by method.
        precision: `fp16`, `w8`, `p6` or `p4`.
        limit: most bytes of weights in one package.

    Raises:
        ExportError: a method that cannot be traced or converted, or whose package differs from the spec.
    """
    methods = cut_methods(modules, spec.methods, limit, lambda name, weight: stored_bytes(name, weight, precision))
    count = len(next(iter(methods.values())))
    names = [f"{spec.name}.mlpackage" if count == 1 else f"{spec.name}.{part + 1}.mlpackage" for part in range(count)]
    for part, name in enumerate(names):
        write_package({method: cut[part] for method, cut in methods.items()}, precision, folder / name, spec.name)
    files = [f"{name}/{file}" for name in names for file in ("Manifest.json", SPECIFICATION, WEIGHTS)]
    programs = tuple(f"{name}/{SPECIFICATION}" for name in names)
    return Packages(tuple(files), dict.fromkeys(spec.methods, programs))


def beyond_engine(made: Packages, folder: Path, longest: int) -> list[str]:
    """The operators whose results have a longer axis than the Neural Engine takes, by package, function and layer."""
    found = []
    for file in dict.fromkeys(file for files in made.programs.values() for file in files):
        for name, function in read_program(folder / file).functions.items():
            computed = (one for one in function.operations if one.kind not in CONSTANTS)
            found += [
                f"{file.partition('/')[0]}: {name}: {one.label}"
                for one in computed
                if any(length > longest for result in one.outputs for length in result.type.shape)
            ]
    return found


def write_package(parts: Mapping[str, Part], precision: str, package: Path, component: str) -> None:
    """One package with a function for each of the methods; a single one is its `main`."""
    with quiet(), unverified(), tempfile.TemporaryDirectory(prefix="dreamlite-coreml-") as scratch:
        made = {}
        for method, part in parts.items():
            made[method] = Path(scratch) / f"{method}.mlpackage"
            where = f"{component}.{method}"
            save(compressed(converted(where, part), precision), made[method])
        if len(made) == 1:
            shutil.move(next(iter(made.values())), package)
        else:
            join(made, package)
    describe(package, parts, component, precision)


def stored_bytes(name: str, weight: torch.Tensor, precision: str) -> float:
    """Bytes a weight takes in a package, palettes and scales left out; in fp16 if it is not compressed."""
    depthwise = weight.ndim == 4 and weight.shape[1] == 1 < weight.shape[0]
    kept = weight.ndim < 2 or weight.numel() <= SMALLEST or depthwise or SENSITIVE.search(name)
    return weight.numel() * (2.0 if kept else BITS[precision] / 8)


def converted(where: str, part: Part) -> Any:
    """A part as an ML program that computes in fp16 and takes and returns fp32.

    Raises:
        ExportError: a module that cannot be traced, or an operator that Core ML lacks.
    """
    return as_program(where, traced(where, part), part.method)


def traced(where: str, part: Part) -> ExportedProgram:
    """A part's graph in torch's core operators."""
    example = tuple(torch.zeros(spec.shape) for spec in part.method.inputs)
    try:
        with torch.no_grad():
            return trace_module(part.module, example).run_decompositions({})
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
        raise ExportError(f"{where}: cannot be converted to Core ML: {error}") from error


def as_program(where: str, graph: ExportedProgram, method: MethodSpec) -> Any:
    """A graph as an ML program with the method's names."""
    import coremltools
    from coremltools import TensorType

    try:
        return coremltools.convert(
            graph,
            inputs=[TensorType(name=spec.name, shape=spec.shape, dtype=np.float32) for spec in method.inputs],
            outputs=[TensorType(name=spec.name, dtype=np.float32) for spec in method.outputs],
            minimum_deployment_target=coremltools.target.iOS18,
            compute_precision=coremltools.precision.FLOAT16,
            compute_units=coremltools.ComputeUnit.CPU_AND_NE,
            skip_model_load=True,
        )
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
        raise ExportError(f"{where}: cannot be converted to Core ML: {error}") from error


def compressed(model: Any, precision: str) -> Any:
    """The weights of products and dense convolutions in fewer bits; one 3x3 per channel is too little to share any."""
    from coremltools.optimize import coreml

    if precision == "fp16":
        return model
    if precision == "w8":
        config = coreml.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=SMALLEST
        )
        apply = coreml.linear_quantize_weights
    else:
        config = coreml.OpPalettizerConfig(
            mode="kmeans",
            nbits=BITS[precision],
            granularity="per_grouped_channel",
            group_size=GROUP,
            weight_threshold=SMALLEST,
        )
        apply = coreml.palettize_weights
    return apply(model, coreml.OptimizationConfig(op_name_configs=dict.fromkeys(weight_names(model), config)))


def weight_names(model: Any) -> list[str]:
    """The constants to compress: weights of products and of dense convolutions, but for the sensitive ones.

    By name, since coremltools refuses a rule by operator where one shares another constant with an operator that is
    left alone, as those without a bias do: they add the zeros of some norm.
    """
    names = [
        operation.weight.op.name
        for operation in model._mil_program.functions[MAIN].operations
        if operation.op_type in COMPRESSED and not (operation.op_type == "conv" and operation.groups.val > 1)
    ]
    return [name for name in names if not SENSITIVE.search(name)]


def save(model: Any, package: Path) -> None:
    model.save(str(package))


def join(made: Mapping[str, Path], package: Path) -> None:
    """Packages of one function each as one of several, equal constants stored once."""
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    joined = MultiFunctionDescriptor()
    for method, path in made.items():
        joined.add_function(str(path), MAIN, method)
    joined.default_function_name = next(iter(made))
    save_multifunction(joined, str(package))


def describe(package: Path, parts: Mapping[str, Part], component: str, precision: str) -> None:
    """Fill in who made the package and what goes in and out; drop what differs between two equal exports.

    Raises:
        ExportError: inputs or outputs that are not those of the spec.
    """
    from coremltools.proto import Model_pb2

    path = package / SPECIFICATION
    model = Model_pb2.Model.FromString(path.read_bytes())
    about = model.description.metadata
    about.author, about.license, about.versionString = AUTHOR, LICENCE, __version__
    about.shortDescription = f"DreamLite {component}, weights in {precision}, activations in fp16"
    about.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
    about.userDefined["compute_units"] = COMPUTE_UNITS
    functions = {function.name: function for function in model.description.functions}
    for method, part in parts.items():
        described = functions.get(method, model.description)
        for kind, found, wanted in (
            ("inputs", described.input, part.method.inputs),
            ("outputs", described.output, part.method.outputs),
        ):
            check_features(f"{component}.{method}", kind, found, wanted)
            for feature, tensor in zip(found, wanted, strict=True):
                feature.shortDescription = meaning(tensor)
    path.write_bytes(model.SerializeToString(deterministic=True))
    path.chmod(0o644)
    (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    (package / "Manifest.json").write_text(package_manifest(package.name))


def check_features(where: str, kind: str, found: Sequence[Any], wanted: Sequence[TensorSpec]) -> None:
    """ExportError unless names, shapes and kinds of number are as specified."""
    from coremltools.proto import FeatureTypes_pb2

    shown = [
        (feature.name, tuple(feature.type.multiArrayType.shape), feature.type.multiArrayType.dataType)
        for feature in found
    ]
    expected = [(tensor.name, tensor.shape, FeatureTypes_pb2.ArrayFeatureType.FLOAT32) for tensor in wanted]
    if shown != expected:
        raise ExportError(f"{where}: the converted {kind} are {shown}, expected {expected}")


def meaning(tensor: TensorSpec) -> str:
    """What a tensor holds and its shape."""
    return f"{MEANING.get(tensor.name, 'handed on from one part to the next')}; float32 {list(tensor.shape)}"


def package_manifest(name: str) -> str:
    """The package's own table of contents, with identifiers that follow from its name instead of chance.

    In order of the identifiers: Apple's library writes the file again so whenever it opens a package.
    """
    items = {
        "model.mlmodel": ("com.apple.CoreML/model.mlmodel", "CoreML Model Specification"),
        "weights": ("com.apple.CoreML/weights", "CoreML Model Weights"),
    }
    identifiers = {item: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{item}")) for item in items}
    entries = {
        identifiers[item]: {"author": "com.apple.CoreML", "description": description, "name": item, "path": path}
        for item, (path, description) in items.items()
    }
    content = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": identifiers["model.mlmodel"],
    }
    return json.dumps(content, indent=4, sort_keys=True) + "\n"


@contextlib.contextmanager
def unverified() -> Iterator[None]:
    """Without the check of the whole graph after each of a hundred passes, which takes a third of a conversion.

    What the passes made is proven on the saved package.
    """
    from coremltools.converters.mil.mil import Program

    with mock.patch.object(Program, "validate", return_value=None):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """coremltools draws progress bars and warns of versions that the user cannot change."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
