"""The components of a DreamLite bundle: the one list that export, runtime, parity, bench and Kotlin read.

Every tensor is float32, batch 1 and static. Component names equal the checkpoint's subfolders plus the part.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.errors import ConfigError, unknown_name

MODES = ("generate", "edit")
FORWARD = "forward"
COMPONENTS = ("text_encoder", "vision_encoder", "unet", "vae_encoder", "vae_decoder")
EDIT_ONLY = ("vision_encoder", "vae_encoder")
TWO_METHODS = ("text_encoder", "unet")
"""Components with one method per mode; the methods share their weights. The others have a single `forward`."""
SIZED = ("unet", "vae_encoder", "vae_decoder")
"""Components whose shapes follow the picture size: in a bundle of several sizes they have methods for each."""

Size = tuple[int, int]
"""Width and height of a picture in pixels."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name and static shape of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """Inputs and outputs of one method, in the order of the graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component and its methods by name."""

    name: str
    methods: dict[str, MethodSpec]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What fixes every shape: the checkpoint, the picture size in pixels and the token counts of both modes.

    `drop_*`: tokens of the system prefix; `states_*`: prompt states the U-Net sees; their sum is the text length.
    `prefix_*`: the prefix itself where the text tower holds its keys and values and does not run it; else empty.
    `further`: sizes of the same bundle beside the first; what is said of shapes here is of the first.
    """

    config: DreamLiteConfig
    width: int
    height: int
    drop_generate: int
    drop_edit: int
    states_generate: int
    states_edit: int
    prefix_generate: tuple[int, ...] = ()
    prefix_edit: tuple[int, ...] = ()
    further: tuple[Size, ...] = ()

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every size, the first of which is the default."""
        return ((self.width, self.height), *self.further)

    def at(self, size: Size) -> "Geometry":
        """The same for one of the sizes alone."""
        return replace(self, width=size[0], height=size[1], further=())

    @property
    def latents(self) -> tuple[int, ...]:
        """Shape of the latents, [1, 4, height / 8, width / 8]."""
        vae = self.config.vae
        return (1, vae.latent_channels, self.height // vae.scale, self.width // vae.scale)

    @property
    def image(self) -> tuple[int, ...]:
        return (1, self.config.vae.in_channels, self.height, self.width)

    def states(self, mode: str) -> int:
        return self.states_generate if mode == "generate" else self.states_edit

    def drop(self, mode: str) -> int:
        return self.drop_generate if mode == "generate" else self.drop_edit

    def prefix(self, mode: str) -> tuple[int, ...]:
        """Token ids that are not run."""
        return self.prefix_generate if mode == "generate" else self.prefix_edit

    def text_length(self, mode: str) -> int:
        """Tokens of the whole sequence."""
        return self.drop(mode) + self.states(mode)

    def tokens_run(self, mode: str) -> int:
        """Tokens that the text tower is given."""
        return self.text_length(mode) - len(self.prefix(mode))


def component_specs(
    geometry: Geometry, modes: Iterable[str] = MODES, only: Iterable[str] | None = None
) -> dict[str, ComponentSpec]:
    """The components that the modes need (or `only` those named), with their methods.

    Raises:
        ConfigError: an unknown mode or component name, or a component that no chosen mode uses.
    """
    modes = list(modes)
    check_names("mode", modes, MODES)
    names = [name for name in COMPONENTS if "edit" in modes or name not in EDIT_ONLY]
    if only is not None:
        wanted = list(only)
        check_names("component", wanted, COMPONENTS)
        idle = [name for name in wanted if name not in names]
        if idle:
            raise ConfigError(f"component {idle[0]!r} is only used by edit, but the modes are {', '.join(modes)}")
        names = [name for name in names if name in wanted]
    return {name: ComponentSpec(name, method_specs(name, geometry, modes)) for name in names}


def size_suffix(size: Size, default: Size) -> str:
    """What the methods (and the step table) of a picture size end with: nothing for a bundle's first size, `_512x768`
    for another."""
    return "" if size == default else f"_{size_text(size)}"


def size_text(size: Size) -> str:
    """`512x768`."""
    return f"{size[0]}x{size[1]}"


def sizes_text(sizes: Iterable[Size]) -> str:
    """`512x512, 512x768`."""
    return ", ".join(map(size_text, sizes))


def sized_method(component: str, method: str, suffix: str) -> str:
    """What a component's method is called for the size whose methods end with `suffix`: the towers have one for all."""
    return method + suffix if component in SIZED else method


def method_specs(name: str, geometry: Geometry, modes: Iterable[str]) -> dict[str, MethodSpec]:
    """The methods of a component for these modes and for every size of the geometry, size by size."""
    modes = list(modes)
    if name not in SIZED:
        return _methods(name, geometry, modes)
    return {
        method + size_suffix(size, geometry.sizes[0]): spec
        for size in geometry.sizes
        for method, spec in _methods(name, geometry.at(size), modes).items()
    }


def check_names(kind: str, found: Iterable[str], known: Iterable[str]) -> None:
    """ConfigError for an empty list or the first name that is not known."""
    names = list(found)
    if not names:
        raise ConfigError(f"no {kind} given; known: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ConfigError(unknown_name(kind, name, known))


def sample_inputs(method: MethodSpec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Seeded inputs of plausible size: unit normals, pictures and patches in [-1, 1], a mask with padding."""
    random = np.random.default_rng(seed)
    samples = {}
    for spec in method.inputs:
        if spec.name == "mask":
            valid = random.integers(spec.shape[1] // 2, spec.shape[1], endpoint=True)
            samples[spec.name] = (np.arange(spec.shape[1]) < valid)[None].astype(np.float32)
        elif spec.name in ("image", "patches"):
            samples[spec.name] = random.uniform(-1, 1, spec.shape).astype(np.float32)
        else:
            samples[spec.name] = random.standard_normal(spec.shape).astype(np.float32)
    return samples


def _methods(name: str, geometry: Geometry, modes: list[str]) -> dict[str, MethodSpec]:
    if name in TWO_METHODS:
        make = _text_method if name == "text_encoder" else _unet_method
        return {mode: make(geometry, mode) for mode in MODES if mode in modes}
    config = geometry.config
    image, latents = TensorSpec("image", geometry.image), TensorSpec("latents", geometry.latents)
    if name == "vae_encoder":
        return {FORWARD: MethodSpec((image,), (latents,))}
    if name == "vae_decoder":
        return {FORWARD: MethodSpec((latents,), (image,))}
    vision = config.vision
    patches = TensorSpec("patches", (vision.num_patches, vision.patch_dim))
    tokens = TensorSpec("image_tokens", (vision.num_tokens, vision.out_hidden_size))
    return {FORWARD: MethodSpec((patches,), (tokens, _deepstack(config)))}


def _text_method(geometry: Geometry, mode: str) -> MethodSpec:
    width = geometry.config.text.hidden_size
    embeddings = TensorSpec("embeddings", (1, geometry.tokens_run(mode), width))
    states = TensorSpec("prompt_states", (1, geometry.states(mode), width))
    inputs = (embeddings,) if mode == "generate" else (embeddings, _deepstack(geometry.config))
    return MethodSpec(inputs, (states,))


def _unet_method(geometry: Geometry, mode: str) -> MethodSpec:
    cfg, states = geometry.config.unet, geometry.states(mode)
    inputs = (
        TensorSpec("latents", geometry.latents),
        TensorSpec("condition", geometry.latents),
        TensorSpec("step_embedding", (1, cfg.time_embed_dim)),
        TensorSpec("prompt_states", (1, states, cfg.encoder_hid_dim)),
        TensorSpec("mask", (1, states)),
    )
    return MethodSpec(inputs, (TensorSpec("velocity", geometry.latents),))


def _deepstack(config: DreamLiteConfig) -> TensorSpec:
    vision = config.vision
    return TensorSpec("deepstack", (len(vision.deepstack_layers), vision.num_tokens, vision.out_hidden_size))
