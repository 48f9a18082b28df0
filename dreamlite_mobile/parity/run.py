"""Runs the same inputs through several sides (torch, a bundle, the ONNX referee) and compares what comes out.

Inputs are seeded samples and, because activations of a real run are distributed otherwise, everything that the
reference pipeline gave each component while it generated and edited one picture.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dreamlite_mobile.components import ComponentSpec, sample_inputs
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.rows import Row, digest
from dreamlite_mobile.parity.thresholds import PICTURE, PIPELINE, coarsest, complaint, measured_and_floor
from dreamlite_mobile.pipeline import Embeddings, Pipeline, Stages, finish
from dreamlite_mobile.progress import Tell
from dreamlite_mobile.runtime import Array, Component

SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Side:
    """One way to run the components: its name in tables, the components, and their precisions (fp32 where absent).

    `embeddings`: its own token table; None: the checkpoint's.
    """

    name: str
    components: Mapping[str, Component]
    precisions: Mapping[str, str] = field(default_factory=dict)
    embeddings: Embeddings | None = None

    def precision(self, component: str) -> str:
        return self.precisions.get(component, "fp32")


@dataclass(frozen=True, slots=True)
class Case:
    """One call of one method: where its inputs come from, and the inputs."""

    component: str
    method: str
    origin: str
    inputs: dict[str, Array]


@dataclass(frozen=True, slots=True)
class Scene:
    """What the whole pipeline is asked for: a prompt, an instruction, the picture to edit, initial noise, steps."""

    prompt: str
    instruction: str
    picture: Image.Image
    latents: Array
    steps: int = 4


@dataclass(frozen=True, slots=True)
class Drawn:
    """One finished picture of one side, and seconds by stage."""

    side: str
    mode: str
    picture: Image.Image
    latents: Array
    seconds: dict[str, float]


@dataclass(slots=True)
class Recorder:
    """A component that remembers what it was given."""

    name: str
    component: Component
    cases: list[Case]

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Record, then run."""
        mine = [case for case in self.cases if (case.component, case.method) == (self.name, method)]
        count = sum(case.origin != SAMPLE for case in mine)
        copies = {name: np.array(value) for name, value in inputs.items()}
        self.cases.append(Case(self.name, method, f"run, call {count + 1}", copies))
        return self.component.run(method, inputs)

    def unload(self) -> None:
        """Unload what is wrapped."""
        self.component.unload()


def sample_cases(specs: Mapping[str, ComponentSpec], seed: int = 1) -> list[Case]:
    """One seeded sample for every method."""
    return [
        Case(name, method, SAMPLE, sample_inputs(signature, seed))
        for name, spec in specs.items()
        for method, signature in spec.methods.items()
    ]


def compare_components(reference: Side, others: list[Side], cases: list[Case], notify: Tell) -> Iterator[list[Row]]:
    """Rows of every case: each other side against the reference, and the others against each other.

    Component by component, so that each side holds one at a time.
    """
    sides = [reference, *others]
    for name in dict.fromkeys(case.component for case in cases):
        mine = sorted((case for case in cases if case.component == name), key=lambda case: case.method)
        for case in mine:
            notify(f"{name}.{case.method} ({case.origin})")
            outputs = {side.name: timed_run(side, case) for side in sides}
            yield [row for found, expected in pairs(sides) for row in case_rows(case, found, expected, outputs)]
        for side in sides:
            side.components[name].unload()


def timed_run(side: Side, case: Case) -> tuple[dict[str, Array], float]:
    """Outputs and seconds; the method is loaded before the clock starts wherever loading is separate."""
    component = side.components[case.component]
    load = getattr(component, "load", None)
    if load is not None:
        load(case.method)
    begin = time.perf_counter()
    outputs = component.run(case.method, case.inputs)
    return outputs, time.perf_counter() - begin


def pairs(sides: list[Side]) -> list[tuple[Side, Side]]:
    """(found, expected) for every two sides; what stands earlier is what is expected."""
    return [(found, expected) for index, found in enumerate(sides) for expected in sides[:index]]


def case_rows(
    case: Case, found: Side, expected: Side, outputs: Mapping[str, tuple[dict[str, Array], float]]
) -> list[Row]:
    """One row per output of the method."""
    results, seconds = outputs[found.name]
    references, _ = outputs[expected.name]
    return [
        Row(
            component=case.component,
            method=case.method,
            output=output,
            precision=coarsest([found.precision(case.component), expected.precision(case.component)]),
            pair=f"{found.name} vs {expected.name}",
            metrics=compare(results[output], references[output]),
            input_digest=digest(case.inputs),
            seconds=seconds,
            origin=case.origin,
        )
        for output in results
    ]


def draw(side: str, pipeline: Pipeline, mode: str, scene: Scene) -> Drawn:
    """One picture of the scene."""
    stages = Stages()
    if mode == "generate":
        run = pipeline.generate(scene.prompt, scene.latents, scene.steps, stages)
    else:
        run = pipeline.edit(scene.picture, scene.instruction, scene.latents, scene.steps, stages)
    result = finish(run)
    return Drawn(side, mode, result.picture, result.latents, stages.seconds)


def picture_rows(found: Drawn, expected: Drawn, precision: str, scene: Scene) -> list[Row]:
    """Finished pictures and final latents of two sides for the same scene."""
    asked = digest({"latents": scene.latents, "picture": np.asarray(scene.picture)})
    measured = {
        "picture": compare(np.asarray(found.picture), np.asarray(expected.picture), picture=True),
        "latents": compare(found.latents, expected.latents),
    }
    return [
        Row(
            component=PICTURE if output == "picture" else PIPELINE,
            method=found.mode,
            output=output,
            precision=precision,
            pair=f"{found.side} vs {expected.side}",
            metrics=metrics,
            input_digest=asked,
            seconds=sum(found.seconds.values()),
            origin="run",
        )
        for output, metrics in measured.items()
    ]


def worst_rows(rows: list[Row]) -> list[Row]:
    """For every output and pair the row that comes out worst, in the order of first appearance.

    One that fails is worse than one that does not, then the one with less room above its floor is.
    """
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.component, row.method, row.output, row.pair), []).append(row)
    return [min(group, key=standing) for group in alike.values()]


def standing(row: Row) -> tuple[bool, float]:
    """What orders rows from the worst: whether it passes, then its margin in dB."""
    _, measured, least = measured_and_floor(row)
    return complaint(row) is None, measured - least
