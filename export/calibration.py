"""Real inputs for quantisers: what an fp32 reference gives every component while it draws and edits.

A quantiser that has only seen noise picks ranges for noise. The prompts and instructions are those of the embedded
world, from a seed that the score does not use; any checkpoint can be asked them. Every denoising step is kept. One
seeded sample of unit normals is added, so that ranges leave room for prompts of another kind.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import (
    MODES,
    SIZED,
    ComponentSpec,
    Geometry,
    MethodSpec,
    sample_inputs,
    size_suffix,
    size_text,
)
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.parity.rows import digest
from dreamlite_mobile.parity.run import Case, Recorder
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.progress import Tell, silent
from dreamlite_mobile.prompt import PromptEncoder
from dreamlite_mobile.runtime import Array, Component
from dreamlite_mobile.tiny.evaluate import asked_of

SEED = 515_151
"""Of prompts and noise; the score's and the parity run's are others."""
STEPS = 4
PICTURES = 12
"""Drawn in each mode, where nobody asks for another number."""
READ = 4
"""Prompts, and edits where that is a mode, that a text tower is asked alone."""
TOWERS = {"text_encoder", "vision_encoder"}
"""What reads: they are given the same whether a picture is drawn or not."""
Inputs = tuple[torch.Tensor, ...]
Calls = Mapping[str, Sequence[Inputs]]
"""Of one component, by method."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """`calls`: (component, method) -> the inputs of each call, in the order of the graph.

    `pictures`: drawn in each mode, with `steps` steps (0: only read about). `sha256` names every number of the calls.
    `right`: of these pictures, those that show what was asked for; only square ones are judged.
    """

    pictures: int
    steps: int
    calls: Mapping[tuple[str, str], tuple[Inputs, ...]]
    sha256: str
    right: int = 0

    def calls_of(self, spec: ComponentSpec) -> dict[str, tuple[Inputs, ...]]:
        """The calls of each of a component's methods."""
        return {method: self.calls[spec.name, method] for method in spec.methods}


def trajectories(
    checkpoint: Checkpoint,
    geometry: Geometry,
    encoder: PromptEncoder,
    modes: Sequence[str],
    specs: Mapping[str, ComponentSpec],
    pictures: int = PICTURES,
    tell: Tell = silent,
) -> Calibration:
    """Draw pictures, and edits where that is a mode, in every size, and keep what the components were given.

    Args:
        pictures: of each mode and size.
        specs: the components to keep inputs of; for towers alone each prompt is read and no picture drawn.
        tell: told of each picture.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    pipelines, cases = recorded(checkpoint, geometry, encoder, modes)
    right = 0
    for mode, pipeline in product((mode for mode in MODES if mode in modes), pipelines):
        size = size_text((pipeline.width, pipeline.height))
        for index, asked in enumerate(asked_of(mode, pictures, min(pipeline.width, pipeline.height), SEED)):
            tell(f"calibration: {mode} at {size}, picture {index + 1} of {pictures}")
            if TOWERS.issuperset(specs):
                asked.read(pipeline)
                continue
            picture = asked.draw(pipeline, SEED + index, STEPS)
            right += picture.width == picture.height and asked.judged(picture).judged.right
    calls = {
        (name, method): (
            *real_calls(cases, name, method, signature),
            in_order(signature, sample_inputs(signature, SEED)),
        )
        for name, spec in specs.items()
        for method, signature in spec.methods.items()
    }
    return Calibration(pictures, STEPS, calls, digest_of(cases), right)


def readings(
    checkpoint: Checkpoint,
    geometry: Geometry,
    encoder: PromptEncoder,
    modes: Sequence[str],
    specs: Mapping[str, ComponentSpec],
    pictures: int = READ,
) -> Calibration:
    """What the text tower is given for a few prompts and edits, without drawing them; no other component's calls.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    pipelines, cases = recorded(checkpoint, geometry, encoder, modes)
    pipeline = next(pipelines)
    for mode in (mode for mode in MODES if mode in modes):
        for asked in asked_of(mode, pictures, min(geometry.width, geometry.height), SEED):
            asked.read(pipeline)
    calls = {
        ("text_encoder", method): tuple(real_calls(cases, "text_encoder", method, signature))
        for method, signature in specs["text_encoder"].methods.items()
    }
    return Calibration(pictures, 0, calls, digest_of(cases))


def recorded(
    checkpoint: Checkpoint, geometry: Geometry, encoder: PromptEncoder, modes: Sequence[str]
) -> tuple[Iterator[Pipeline], list[Case]]:
    """The fp32 reference in every size, each made when it is asked for, and the list of all calls to come.

    The towers, which are the same for all sizes, are listened to in the first.
    """
    cases: list[Case] = []
    components = reference_components(checkpoint, geometry, modes)
    recorders: dict[str, Component] = {name: Recorder(name, one, cases) for name, one in components.items()}
    sized = components | {name: recorders[name] for name in components if name in SIZED}
    return (
        reference_pipeline(
            checkpoint,
            geometry.at(size),
            encoder,
            recorders if size == geometry.sizes[0] else sized,
            size_suffix(size, geometry.sizes[0]),
        )
        for size in geometry.sizes
    ), cases


def real_calls(cases: Sequence[Case], component: str, method: str, signature: MethodSpec) -> Iterator[Inputs]:
    """What a method was given, call by call."""
    for case in cases:
        if (case.component, case.method) == (component, method):
            yield in_order(signature, case.inputs)


def in_order(signature: MethodSpec, inputs: Mapping[str, Array]) -> Inputs:
    """Named inputs in the order of the graph."""
    return tuple(torch.from_numpy(inputs[tensor.name]) for tensor in signature.inputs)


def digest_of(cases: Sequence[Case]) -> str:
    """SHA-256 over who was given what, in order."""
    said = "\n".join(f"{case.component} {case.method} {digest(case.inputs)}" for case in cases)
    return hashlib.sha256(said.encode()).hexdigest()
