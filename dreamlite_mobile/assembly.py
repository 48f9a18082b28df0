"""From a checkpoint to ready modules: each component's methods in torch, written in one form."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dreamlite_mobile.checkpoint import Checkpoint, Filled
from dreamlite_mobile.components import COMPONENTS, Geometry, check_names, method_specs
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import REFERENCE, Form
from dreamlite_mobile.networks.text import TextEncoder, TextLayout, TextTower
from dreamlite_mobile.scheduler import MAX_STEPS, sigma_table, timesteps


def component_methods(
    checkpoint: Checkpoint,
    name: str,
    form: Form,
    geometry: Geometry,
    modes: Sequence[str],
    prepare: Callable[[nn.Module], Filled] | None = None,
) -> dict[str, nn.Module]:
    """The component's methods as evaluation modules; methods of one component share their parameters.

    Args:
        prepare: gives what is to be done with each module of the (still empty) network once its weights are read.

    Raises:
        ConfigError: an unknown component. CheckpointError: tensors that cannot be read or are not finite.
    """
    check_names("component", [name], COMPONENTS)
    network = load_network(checkpoint, name, form, prepare)
    if not isinstance(network, TextTower):
        return dict.fromkeys(method_specs(name, geometry, modes), network)
    return {mode: mode_of_text(checkpoint, network, geometry, mode) for mode in modes}


def mode_of_text(checkpoint: Checkpoint, tower: TextTower, geometry: Geometry, mode: str) -> TextEncoder:
    """One mode over a finished tower, with what its prefix leaves if it is not run."""
    encoder = text_encoder(tower, text_layout(geometry, mode))
    prefix = geometry.prefix(mode)
    if prefix:
        encoder.remember(torch.from_numpy(checkpoint.embedding_rows().lookup(prefix))[None])
    return encoder


def load_network(
    checkpoint: Checkpoint, name: str, form: Form, prepare: Callable[[nn.Module], Filled] | None = None
) -> nn.Module:
    """Build a network on the meta device, fill it from the checkpoint, derive its kernels."""
    network = build(name, checkpoint.config, form)
    if prepare is None:
        checkpoint.load(name, network)
    else:
        checkpoint.load(name, network, prepare(network))
    return fold(network)


def text_layout(geometry: Geometry, mode: str) -> TextLayout:
    """The static token sequence of a mode; in edit mode the picture follows the first `<|vision_start|>`."""
    length, drop, remembered = geometry.text_length(mode), geometry.drop(mode), bool(geometry.prefix(mode))
    if mode == "generate":
        return TextLayout(length, drop, remembered=remembered)
    vision = geometry.config.vision
    image = (drop + 1, drop + 1 + vision.num_tokens)
    return TextLayout(length, drop, image, vision.grid // vision.spatial_merge_size, remembered)


def text_encoder(tower: TextTower, layout: TextLayout) -> TextEncoder:
    """One mode over an already folded tower."""
    encoder = TextEncoder(tower, layout)
    encoder.fold()
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def step_embeddings(checkpoint: Checkpoint, width: int, height: int) -> torch.Tensor:
    """Every step of every schedule of 1 to 50 steps: float32 [1275, T]; row steps*(steps-1)/2 + i."""
    config = checkpoint.config
    embedder = load_network(checkpoint, "step_embedder", REFERENCE)
    times = [
        torch.from_numpy(
            timesteps(sigma_table(steps, width, height, config.vae.scale, config.scheduler), config.scheduler)
        )
        for steps in range(1, MAX_STEPS + 1)
    ]
    embedded: torch.Tensor = embedder(torch.cat(times), torch.tensor([float(width), float(height)]))
    return embedded
