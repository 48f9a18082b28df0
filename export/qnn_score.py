"""The score as judge of a component's plan: pictures of the embedded world, drawn with the component as it would be
and all else in fp32, against the same in fp32."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import Geometry, component_specs
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.prompt import PromptEncoder
from dreamlite_mobile.runtime import Component
from dreamlite_mobile.runtime.torch import TorchComponent
from dreamlite_mobile.tiny.evaluate import Evaluation, Made, asked_of
from export.qnn_short import Verdict

SEED = 616_161
"""Of prompts and noise that neither calibration nor `dreamlite score` uses."""
PICTURES = 24
"""Drawn in each mode."""
STEPS = 4


@dataclass(slots=True)
class ScoreJudge:
    """Draws what fp32 makes of the judged prompts once, when first asked."""

    checkpoint: Checkpoint
    geometry: Geometry
    encoder: PromptEncoder
    modes: Sequence[str]
    pictures: int = PICTURES
    before: Evaluation | None = None

    def scored(self, component: str, modules: Mapping[str, nn.Module]) -> Scored:
        """The score in fp32, and with these modules, one per method, in place of a component."""
        components = reference_components(self.checkpoint, self.geometry, self.modes)
        if self.before is None:
            self.before = self.drawn(components)
        methods = component_specs(self.geometry, self.modes, [component])[component].methods
        return Scored(
            self.before, self.drawn(components | {component: TorchComponent(modules, methods, name=component)})
        )

    def verdict(self, component: str, precision: str, modules: Mapping[str, nn.Module]) -> Verdict:
        """Whether a precision may lose as much as these modules do."""
        scored = self.scored(component, modules)
        return Verdict(scored.loss(), scored.complaint([precision]) is None)

    def drawn(self, components: dict[str, Component]) -> Evaluation:
        """The judged pictures over these components."""
        pipeline = reference_pipeline(self.checkpoint, self.geometry, self.encoder, components)
        return Evaluation({mode: made(pipeline, mode, self.pictures) for mode in self.modes})


def made(pipeline: Pipeline, mode: str, count: int) -> list[Made]:
    """The first judged pictures of a mode."""
    asked = asked_of(mode, count, pipeline.width, SEED)
    return [one.judged(one.draw(pipeline, SEED + index, STEPS)) for index, one in enumerate(asked)]
