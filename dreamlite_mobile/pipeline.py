"""Generate and edit over components given as callables; no backend is known here (`DreamLiteMobilePipeline`).

Both modes are generators: they yield a `Step` after every denoising step and return the picture, so the caller
decides when to show, measure or stop. `finish` runs one to its end.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamlite_mobile.components import FORWARD
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.images import condition_image, to_picture, vision_patches
from dreamlite_mobile.measure import measured
from dreamlite_mobile.prompt import PromptEncoder, PromptLayout
from dreamlite_mobile.scheduler import euler_step, sigma_table

Array = NDArray[np.float32]
STAGES = ("vision_encoder", "text_encoder", "vae_encoder", "unet", "vae_decoder")
"""The components in the order a run uses them."""
LOADING = "loading"
"""The stage in which components that can load ahead of their first run do so."""
T = TypeVar("T")


class Component(Protocol):
    """One network behind some runtime: named arrays in, named arrays out."""

    def run(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


class Embeddings(Protocol):
    """Rows of the token table: ids [L] -> float32 [L, D]."""

    def lookup(self, ids: NDArray[np.int64]) -> Array: ...


class StepTable(Protocol):
    """The embedding of step `index` of a schedule of `steps`: float32 [1, T]."""

    def row(self, steps: int, index: int) -> Array: ...


@dataclass(frozen=True, slots=True)
class Step:
    """Progress after one denoising step; `latents` [1, 4, h, w] are the caller's to keep. `seconds` of U-Net time."""

    index: int
    steps: int
    sigma: float
    latents: Array
    seconds: float


@dataclass(slots=True)
class Stages:
    """Seconds and peak resident bytes of each component in one run, filled while it runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)

    def timed(self, name: str, component: Component, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        load = getattr(component, "load", None)
        if load is not None:
            self.measure(LOADING, lambda: load(method))
        return self.measure(name, lambda: component.run(method, inputs))

    def measure(self, name: str, work: Callable[[], T]) -> T:
        """Run `work` and add what it cost to the stage."""
        with measured() as cost:
            done = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + cost.seconds
        self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), cost.peak_bytes)
        return done


@dataclass(frozen=True, slots=True)
class Result:
    """The picture, the final latents [1, 4, h, w] and the decoder's image [1, 3, H, W] it was made from."""

    picture: Image.Image
    latents: Array
    image: Array


Run = Generator[Step, None, Result]
Source = Callable[[str], Component]
"""Gives a component by name; called when its stage begins, so a source may load and unload as memory allows."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """DreamLite for one picture size. `skipped`: by mode, the first tokens that the text encoder is not given.

    `suffix`: what the names of this size's methods end with (`components.size_suffix`).
    """

    config: DreamLiteConfig
    width: int
    height: int
    component: Source
    prompts: PromptEncoder
    embeddings: Embeddings
    step_table: StepTable
    skipped: Mapping[str, int] = field(default_factory=dict)
    suffix: str = ""

    @property
    def latents_shape(self) -> tuple[int, int, int, int]:
        """Shape of the initial noise, [1, 4, height / 8, width / 8]."""
        vae = self.config.vae
        return (1, vae.latent_channels, self.height // vae.scale, self.width // vae.scale)

    def generate(self, prompt: str, latents: Array, steps: int = 4, stages: Stages | None = None) -> Run:
        """Text to picture from initial noise `latents` [1, 4, h, w].

        Raises:
            PromptError: a prompt that cannot be used. ConfigError: steps outside 1...50.
        """
        stages = stages or Stages()
        layout, states = self.read(prompt, stages)
        return (yield from self.denoise("generate", latents, np.zeros_like(latents), layout, states, steps, stages))

    def edit(
        self, picture: Image.Image, instruction: str, latents: Array, steps: int = 4, stages: Stages | None = None
    ) -> Run:
        """Change an RGB picture as the instruction says, from initial noise `latents` [1, 4, h, w].

        Raises:
            PromptError: an instruction that cannot be used. ConfigError: steps outside 1...50.
        """
        stages = stages or Stages()
        layout, states = self.read_edit(picture, instruction, stages)
        condition = self.encode_picture(picture, stages)
        return (yield from self.denoise("edit", latents, condition, layout, states, steps, stages))

    def encode_picture(self, picture: Image.Image, stages: Stages) -> Array:
        """The latents [1, 4, h, w] of an RGB picture, cut and scaled to this size."""
        source = {"image": condition_image(picture, self.width, self.height)}
        encoder = self.component("vae_encoder")
        return stages.timed("vae_encoder", encoder, FORWARD + self.suffix, source)["latents"]

    def read(self, prompt: str, stages: Stages) -> tuple[PromptLayout, Array]:
        """A prompt's layout and states [1, S, D]."""
        layout = self.prompts.generate(prompt)
        return layout, self.encode("generate", self.embeddings.lookup(layout.ids)[None], {}, stages)

    def read_edit(self, picture: Image.Image, instruction: str, stages: Stages) -> tuple[PromptLayout, Array]:
        """The layout and states [1, S, D] of an instruction and the RGB picture it speaks of."""
        layout = self.prompts.edit(instruction)
        assert layout.image is not None
        patches = vision_patches(picture, self.config.vision)
        seen = stages.timed("vision_encoder", self.component("vision_encoder"), FORWARD, {"patches": patches})
        embeddings = self.embeddings.lookup(layout.ids)[None]
        embeddings[0, slice(*layout.image)] = seen["image_tokens"]
        return layout, self.encode("edit", embeddings, {"deepstack": seen["deepstack"]}, stages)

    def encode(self, mode: str, embeddings: Array, more: dict[str, Array], stages: Stages) -> Array:
        """Token embeddings [1, L, D] -> prompt states [1, S, D]."""
        inputs = {"embeddings": embeddings[:, self.skipped.get(mode, 0) :], **more}
        return stages.timed("text_encoder", self.component("text_encoder"), mode, inputs)["prompt_states"]

    def denoise(
        self,
        mode: str,
        latents: Array,
        condition: Array,
        layout: PromptLayout,
        states: Array,
        steps: int,
        stages: Stages,
    ) -> Run:
        """The Euler loop, then the decoder."""
        sigmas = sigma_table(steps, self.width, self.height, self.config.vae.scale, self.config.scheduler)
        constant = {"condition": condition, "prompt_states": states, "mask": layout.mask[None]}
        unet = self.component("unet")
        for index in range(steps):
            begin = time.perf_counter()
            inputs = {"latents": latents, "step_embedding": self.step_table.row(steps, index), **constant}
            velocity = stages.timed("unet", unet, mode + self.suffix, inputs)["velocity"]
            latents = euler_step(latents, velocity, float(sigmas[index]), float(sigmas[index + 1]))
            yield Step(index, steps, float(sigmas[index]), latents, time.perf_counter() - begin)
        return self.decode(latents, stages)

    def decode(self, latents: Array, stages: Stages) -> Result:
        vae = self.config.vae
        scaled = latents / np.float32(vae.scaling_factor) + np.float32(vae.shift_factor)
        decoder = self.component("vae_decoder")
        image = stages.timed("vae_decoder", decoder, FORWARD + self.suffix, {"latents": scaled})["image"]
        return Result(to_picture(image), latents, image)


def finish(run: Run, on_step: Callable[[Step], None] | None = None) -> Result:
    """Drive a run to its end, telling `on_step` about every step."""
    while True:
        try:
            step = next(run)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        if on_step is not None:
            on_step(step)
