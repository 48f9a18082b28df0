"""The score of a checkpoint in torch, and of a bundle made from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry as bundle_geometry
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.cli.shared import stderr
from dreamlite_mobile.components import Geometry, component_specs
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.progress import task
from dreamlite_mobile.prompt import PromptEncoder
from dreamlite_mobile.runtime.rounding import Rounding
from dreamlite_mobile.runtime.session import Session, prompt_encoder
from dreamlite_mobile.tiny.evaluate import Evaluation, check_square, evaluate, groups_of


@dataclass(slots=True)
class Scorer:
    """Scores bundles against their checkpoints; what torch draws is drawn once for all bundles of a kind."""

    before: dict[tuple[object, ...], Evaluation] = field(default_factory=dict)

    def scored(
        self,
        bundle: Bundle,
        checkpoint: Checkpoint,
        count: int,
        threads: int | None = None,
        rounding: Rounding = "fp16",
    ) -> Scored:
        """`count` pictures of each group, by torch and through the bundle."""
        size, modes = bundle.size.sides, whole_modes(bundle)
        key = (bundle.manifest.checkpoint.sha256, *size, count, *modes)
        if key not in self.before:
            reference = reference_over(
                checkpoint, bundle_geometry(bundle.manifest, size), prompt_encoder(bundle), modes
            )
            self.before[key] = drawn(reference, count, modes, "torch")
        with Session(bundle, threads, emulator=True, rounding=rounding) as session:
            return Scored(self.before[key], drawn(session.pipeline(), count, modes, bundle.path.name))


def drawn(pipeline: Pipeline, count: int, modes: Sequence[str], label: str) -> Evaluation:
    """The pictures of one side, with progress."""
    with task(stderr, f"scoring {label}", len(groups_of(modes)) * count) as advance:
        return evaluate(pipeline, count, modes=modes, advance=advance)


def check_scorable(bundle: Bundle) -> None:
    """ConfigError for a bundle that draws no pictures, or none that the score can judge."""
    if not whole_modes(bundle):
        raise ConfigError(
            f"{bundle.path}: --score draws whole pictures, but the bundle holds only "
            f"{', '.join(bundle.manifest.components)}. Leave --score out, or export every component."
        )
    check_square(*bundle.size.sides)


def whole_modes(bundle: Bundle) -> list[str]:
    """The modes that the bundle has every component for."""
    geometry, held = bundle_geometry(bundle.manifest), bundle.manifest.components
    return [mode for mode in bundle.manifest.modes if all(name in held for name in component_specs(geometry, [mode]))]


def reference_over(
    checkpoint: Checkpoint, geometry: Geometry, encoder: PromptEncoder, modes: Sequence[str]
) -> Pipeline:
    """The float32 reference over every component that these modes need."""
    return reference_pipeline(checkpoint, geometry, encoder, reference_components(checkpoint, geometry, modes))
