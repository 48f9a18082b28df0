"""Token ids, pieces and prompt layouts of one tokenizer."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from dreamlite_mobile.bundle_fields import Mode
from dreamlite_mobile.config import MOBILE, TINY
from dreamlite_mobile.errors import PromptError
from dreamlite_mobile.golden.texts import hard_texts
from dreamlite_mobile.networks.positions import mrope_positions
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder, PromptLayout

TEXTS = 4000
PROMPTS = 150
SIDE = 64
"""A picture's side in pixels; no prompt depends on it."""
LONG = ("snow " * 150, "snow " * 197, "ein Bär " * 400, "\U00013080" * 120, "cafe\u0301 " * 150, "x" * 3000)
"""Prompts at and over the limit, cut inside words and characters."""
REFUSED = ("", " \n\t\u3000", "a <|image_pad|> b", "<|vision_start|>")


def token_cases(path: Path, count: int = TEXTS) -> str:
    """One JSON object a line: text, ids, and the normalised pieces that are encoded each on its own."""
    tokenizer = Tokenizer.from_file(str(path))
    lines = []
    for text in hard_texts(count):
        normal = tokenizer.normalizer.normalize_str(text)
        cut = tokenizer.pre_tokenizer.pre_tokenize_str(normal)
        pieces = [normal[start:stop] for _, (start, stop) in cut]
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        lines.append(json.dumps({"text": text, "ids": ids, "pieces": pieces}))
    return "\n".join(lines) + "\n"


def prompt_cases(path: Path, count: int = PROMPTS) -> dict[str, Any]:
    """The manifest's prompt section for this tokenizer, and layouts or refusals in both modes."""
    from export.driver import geometry_of
    from export.manifest import prompt_entry

    published = PromptEncoder(path).is_published
    model = MOBILE if published else TINY
    encoder = PromptEncoder(path, replace(PromptConfig(), image_tokens=model.vision.num_tokens))
    prompts = [*hard_texts(count), *LONG, *REFUSED]
    modes: tuple[Mode, ...] = ("generate", "edit")
    return {
        "published": published,
        "prompt": prompt_entry(encoder, geometry_of(model, encoder, SIDE, SIDE), list(modes)).model_dump(mode="json"),
        "cases": [_case(encoder, mode, prompt, index == 0) for mode in modes for index, prompt in enumerate(prompts)],
    }


def _case(encoder: PromptEncoder, mode: Mode, prompt: str, with_positions: bool) -> dict[str, Any]:
    case: dict[str, Any] = {"mode": mode, "text": prompt}
    try:
        layout = encoder.generate(prompt) if mode == "generate" else encoder.edit(prompt)
    except PromptError as error:
        return {**case, "refused": str(error)}
    case |= {
        "ids": layout.ids.tolist(),
        "valid": layout.valid,
        "masked": int(layout.mask.sum()),
        "image": None if layout.image is None else list(layout.image),
        "lost": layout.lost,
        "cut": layout.warning is not None,
    }
    return {**case, "positions": _positions(layout)} if with_positions else case


def _positions(layout: PromptLayout) -> list[list[int]]:
    grid = 0 if layout.image is None else round((layout.image[1] - layout.image[0]) ** 0.5)
    positions: list[list[int]] = mrope_positions(len(layout.ids), layout.image, grid).tolist()
    return positions
