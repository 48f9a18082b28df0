"""The reference a bundle is held to: our networks in torch fp32 from the checkpoint, in the plainest form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.assembly import component_methods, step_embeddings
from dreamlite_mobile.checkpoint import Checkpoint, EmbeddingRows
from dreamlite_mobile.components import MODES, ComponentSpec, Geometry, component_specs
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.parity.numbers import Watch, Watched, attach
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.prompt import PromptEncoder
from dreamlite_mobile.runtime import Array, Component
from dreamlite_mobile.runtime.torch import LazyTorchComponent, TorchComponent


def reference_components(
    checkpoint: Checkpoint, geometry: Geometry, modes: Sequence[str], watch: Watch | None = None
) -> dict[str, Component]:
    """Every component that the modes need, each read from the checkpoint when first run; `watch` counts its numbers."""
    return {
        name: lazy_component(checkpoint, spec, geometry, modes, watch)
        for name, spec in component_specs(geometry, modes).items()
    }


def lazy_component(
    checkpoint: Checkpoint, spec: ComponentSpec, geometry: Geometry, modes: Sequence[str], watch: Watch | None
) -> Component:
    def make() -> TorchComponent:
        modules = component_methods(checkpoint, spec.name, REFERENCE, geometry, modes)
        if watch is not None:
            attach(watch, modules.values())
        return TorchComponent(modules, spec.methods, name=spec.name)

    component = LazyTorchComponent(make)
    return component if watch is None else Watched(spec.name, component, watch)


@dataclass(frozen=True, slots=True)
class Rows:
    """The checkpoint's own token table."""

    rows: EmbeddingRows

    def lookup(self, ids: NDArray[np.int64]) -> Array:
        """ids [L] -> float32 [L, D]."""
        return self.rows.lookup(ids.tolist())


@dataclass(frozen=True, slots=True)
class StepRows:
    """Step embeddings [1275, T] as the bundle's table would hold them."""

    table: Array

    def row(self, steps: int, index: int) -> Array:
        """float32 [1, T]."""
        position = steps * (steps - 1) // 2 + index
        return self.table[position : position + 1]


def reference_pipeline(
    checkpoint: Checkpoint,
    geometry: Geometry,
    encoder: PromptEncoder,
    components: dict[str, Component],
    suffix: str = "",
) -> Pipeline:
    """The pipeline over `reference_components` (or any others with the same signatures).

    Args:
        geometry: of one size; `suffix`: what its methods end with where the components have those of several.
    """
    return Pipeline(
        config=geometry.config,
        width=geometry.width,
        height=geometry.height,
        component=components.__getitem__,
        prompts=encoder,
        embeddings=Rows(checkpoint.embedding_rows()),
        step_table=StepRows(step_embeddings(checkpoint, geometry.width, geometry.height).numpy()),
        skipped={mode: len(geometry.prefix(mode)) for mode in MODES},
        suffix=suffix,
    )
