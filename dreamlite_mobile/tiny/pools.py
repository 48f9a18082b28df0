"""Training examples in bulk: rendered, encoded once by the trained autoencoder, kept on disk."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dreamlite_mobile.tiny.examples import edit_examples, examples
from dreamlite_mobile.tiny.facts import layout
from dreamlite_mobile.tiny.models import Models, encode
from dreamlite_mobile.tiny.world import Sampler, Scene, render

CHUNK = 60
"""Examples made at a time; a multiple of the number of kinds of scene and of edit."""
ENCODED = 10
"""Pictures that the autoencoder takes at a time: twice as fast on a CPU as 60, whose activations leave the caches."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts and the latents of their pictures [N, 4, h, w], fp16; for edits also the sources' pixels and latents.

    `layouts` [N, 3, h, w]: what the picture shows where, as `facts.layout` says it. `words`: what the text tower, which
    no longer learns, has said, by row and whether the text was left blank.
    """

    texts: list[str]
    latents: torch.Tensor
    layouts: torch.Tensor
    sources: NDArray[np.uint8] | None = None
    conditions: torch.Tensor | None = None
    words: dict[tuple[int, bool], torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chunk of examples: texts, scenes to draw, and for edits what they start from."""

    texts: list[str]
    after: list[Scene]
    before: list[Scene] | None = None


def scenes(sampler: Sampler) -> Drawn:
    """A chunk of captions and scenes, all kinds in turns."""
    made = examples(sampler, CHUNK)
    return Drawn([one.caption for one in made], [one.scene for one in made])


def changes(sampler: Sampler) -> Drawn:
    """A chunk of instructions, scenes after and scenes before."""
    made = edit_examples(sampler, CHUNK)
    edits = [one.edit for one in made]
    return Drawn([one.instruction for one in made], [one.after for one in edits], [one.before for one in edits])


def make_pool(models: Models, edits: bool, size: int, seed: int, file: Path) -> Pool:
    """At least `size` examples; read from `file` if an earlier run has made them."""
    if not file.exists():
        store(drawn(models, edits, size, seed), file)
    stored = torch.load(file)
    sources = stored.pop("sources", None)
    return Pool(sources=None if sources is None else sources.numpy(), **stored)


def store(data: dict[str, Any], file: Path) -> None:
    """Write beside the place, then move there, so that a kill leaves the old file or the new one."""
    partial = file.with_suffix(".partial")
    torch.save(data, partial)
    partial.rename(file)


def drawn(models: Models, edits: bool, size: int, seed: int) -> dict[str, Any]:
    """What a pool's file holds. Chunks have seeds of their own: on a CPU, processes share them out."""
    jobs = [(models.vae, edits, (seed, 2 + edits, index)) for index in range(-(-size // CHUNK))]
    if models.device.type == "cpu" and len(jobs) > 1:
        context = get_context("fork")
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores, context, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            parts = list(told(workers.map(chunk, jobs)))
    else:
        parts = list(told(map(chunk, jobs)))
    texts = [text for part in parts for text in part.pop("texts")]
    return {"texts": texts, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]}}


def told(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The parts as they come, counted on the terminal now and then."""
    for done, part in enumerate(parts, 1):
        if done % 50 == 0:
            print(f"{done * CHUNK} examples made", flush=True)
        yield part


def chunk(job: tuple[nn.Module, bool, tuple[int, ...]]) -> dict[str, Any]:
    """One chunk of a pool, for a process of its own or not."""
    vae, edits, seed = job
    one = (changes if edits else scenes)(Sampler(np.random.default_rng(seed)))
    latents = encoded(vae, np.stack([render(scene) for scene in one.after]))
    layouts = np.stack([layout(scene, latents.shape[-1]) for scene in one.after])
    found = {"texts": one.texts, "latents": latents, "layouts": torch.from_numpy(layouts)}
    if one.before is not None:
        sources = np.stack([render(scene) for scene in one.before])
        found |= {"sources": torch.from_numpy(sources), "conditions": encoded(vae, sources)}
    return found


@torch.no_grad()
def encoded(vae: nn.Module, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """fp16 latents on the CPU."""
    parts = [encode(vae, pictures[start : start + ENCODED]) for start in range(0, len(pictures), ENCODED)]
    return torch.cat(parts).half().cpu()
