"""From a checkpoint to ready modules: each component's methods in torch, written in one form."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dreamlite_mobile.checkpoint import Checkpoint, Filled
from dreamlite_mobile.components import COMPONENTS, FORWARD, TWO_METHODS, Geometry, check_names
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
    if name not in TWO_METHODS:
        return {FORWARD: network}
    if not isinstance(network, TextTower):
        return dict.fromkeys(modes, network)
    return {mode: text_encoder(network, text_layout(geometry, mode)) for mode in modes}


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
    length, drop = geometry.text_length(mode), geometry.drop(mode)
    if mode == "generate":
        return TextLayout(length, drop)
    vision = geometry.config.vision
    image = (drop + 1, drop + 1 + vision.num_tokens)
    return TextLayout(length, drop, image, grid=vision.grid // vision.spatial_merge_size)


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
