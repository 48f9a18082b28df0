"""The published pipeline (diffusers `DreamLiteMobilePipeline`) on given latents: the oracle of the whole path.

Only for checking: nothing that is exported or shipped imports diffusers or transformers.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dreamlite_mobile.errors import DreamLiteError

PACKAGES = ("diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Published:
    """Final latents [1, 4, h, w] float32 and the picture."""

    latents: NDArray[np.float32]
    picture: Image.Image


def missing_packages() -> list[str]:
    """What has to be installed before `PublishedPipeline` can be used; empty when nothing."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


class PublishedPipeline:
    """The published classes loaded from a checkpoint folder, in fp32 on the CPU.

    The final norm of the text tower is taken out: transformers 5 returns `hidden_states[-1]` after it, while
    DreamLite was trained on the states before it (transformers 4.57 returned those).
    """

    def __init__(self, folder: Path) -> None:
        missing = missing_packages()
        if missing:
            raise DreamLiteError(
                f"the comparison with the published pipeline needs {' and '.join(missing)}, which are not installed. "
                "Install the project with its 'test' extra, or leave this comparison out."
            )
        libraries: Any = [importlib.import_module(name) for name in PACKAGES]
        for library in libraries:
            library.utils.logging.disable_progress_bar()
        self.pipe: Any = libraries[0].DreamLiteMobilePipeline.from_pretrained(folder, torch_dtype=torch.float32)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.text_encoder.model.language_model.norm = torch.nn.Identity()

    def generate(self, prompt: str, latents: NDArray[np.float32], steps: int = 4) -> Published:
        """Text to picture from initial noise [1, 4, h, w]."""
        return self._run(prompt, None, latents, steps)

    def edit(self, picture: Image.Image, instruction: str, latents: NDArray[np.float32], steps: int = 4) -> Published:
        """Edit an RGB picture from initial noise [1, 4, h, w]."""
        return self._run(instruction, picture, latents, steps)

    @torch.no_grad()
    def _run(self, prompt: str, picture: Image.Image | None, latents: NDArray[np.float32], steps: int) -> Published:
        pipe, noise = self.pipe, torch.from_numpy(latents.copy())
        pipe.prepare_latents = lambda *_: noise
        scale = pipe.vae_scale_factor
        final = pipe(
            prompt,
            image=picture,
            height=latents.shape[2] * scale,
            width=latents.shape[3] * scale,
            num_inference_steps=steps,
            output_type="latent",
        ).images
        vae = pipe.vae
        image = vae.decode(final / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        return Published(final.numpy(), pipe.image_processor.postprocess(image, output_type="pil")[0])
