"""Training examples in bulk: rendered, encoded once by the trained autoencoder, kept on disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dreamlite_mobile.tiny.examples import SCENE_KINDS, edit_example, example
from dreamlite_mobile.tiny.models import Models, encode
from dreamlite_mobile.tiny.world import EDIT_KINDS, Sampler, render

CHUNK = 60
"""Examples made at a time; a multiple of the number of kinds of scene and of edit."""
ENCODED = 4
"""Pictures that the autoencoder takes at a time: twice as fast on a CPU as 60, whose activations leave the caches."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts and the latents of their pictures [N, 4, h, w], fp16; for edits also the sources' pixels and latents.

    `words`: what a text tower that no longer learns has said, by row and whether the text was left blank.
    """

    texts: list[str]
    latents: torch.Tensor
    sources: NDArray[np.uint8] | None = None
    conditions: torch.Tensor | None = None
    words: dict[tuple[int, bool], torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


Drawn = tuple[list[str], NDArray[np.uint8], NDArray[np.uint8] | None]


def scenes(sampler: Sampler) -> Drawn:
    """A chunk of captions and pictures, all kinds in turns."""
    made = [example(sampler, SCENE_KINDS[index % len(SCENE_KINDS)]) for index in range(CHUNK)]
    return [one.caption for one in made], np.stack([render(one.scene) for one in made]), None


def changes(sampler: Sampler) -> Drawn:
    """A chunk of instructions, pictures after and pictures before."""
    made = [edit_example(sampler, EDIT_KINDS[index % len(EDIT_KINDS)]) for index in range(CHUNK)]
    after = np.stack([render(one.edit.after) for one in made])
    return [one.instruction for one in made], after, np.stack([render(one.edit.before) for one in made])


def make_pool(models: Models, edits: bool, size: int, seed: int, file: Path) -> Pool:
    """At least `size` examples; read from `file` if an earlier run has made them."""
    if not file.exists():
        store(drawn(models, changes if edits else scenes, size, (seed, 2 + edits)), file)
    stored = torch.load(file)
    sources = stored.get("sources")
    return Pool(
        stored["texts"], stored["latents"], None if sources is None else sources.numpy(), stored.get("conditions")
    )


def store(data: dict[str, Any], file: Path) -> None:
    """Write beside the place, then move there, so that a kill leaves the old file or the new one."""
    partial = file.with_suffix(".partial")
    torch.save(data, partial)
    partial.rename(file)


def drawn(models: Models, draw: Callable[[Sampler], Drawn], size: int, seed: tuple[int, int]) -> dict[str, Any]:
    """What a pool's file holds."""
    sampler = Sampler(np.random.default_rng(seed))
    texts: list[str] = []
    found: dict[str, list[torch.Tensor]] = {"latents": [], "conditions": [], "sources": []}
    while len(texts) < size:
        captions, after, before = draw(sampler)
        texts += captions
        found["latents"].append(encoded(models, after))
        if before is not None:
            found["conditions"].append(encoded(models, before))
            found["sources"].append(torch.from_numpy(before))
        if len(texts) % (100 * CHUNK) == 0:
            print(f"{len(texts)} of {size} examples", flush=True)
    return {"texts": texts, **{name: torch.cat(parts) for name, parts in found.items() if parts}}


@torch.no_grad()
def encoded(models: Models, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """fp16 latents on the CPU."""
    parts = [encode(models, pictures[start : start + ENCODED]) for start in range(0, len(pictures), ENCODED)]
    return torch.cat(parts).half().cpu()
