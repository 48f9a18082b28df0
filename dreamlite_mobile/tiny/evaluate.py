"""The score of a pipeline: draw what the embedded world asks for, judge the pictures, sum up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.pipeline import Array, Pipeline, Run, Stages, finish
from dreamlite_mobile.progress import Advance
from dreamlite_mobile.tiny.score import SEED, Judged, Score, edits, judge_edited, judge_generated, prompts, score
from dreamlite_mobile.tiny.world import Pixels, render

GROUPS = ("generate", "generate, held out", "edit", "edit, held out")
"""Held out: pairs of colour and shape that no training scene had."""
MODES = {"generate": ("generate", "generate, held out"), "edit": ("edit", "edit, held out")}
GAP, LINE = 8, 12
"""Pixels between the columns and rows of a contact sheet, and of a line of words."""


@dataclass(frozen=True, slots=True)
class Made:
    """One picture with its judgement; `source` is what an edit started from."""

    judged: Judged
    picture: Image.Image
    source: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything made, by group of `GROUPS`."""

    made: dict[str, list[Made]]

    def scores(self) -> dict[str, Score]:
        """The score of each group."""
        return {group: score([one.judged for one in made]) for group, made in self.made.items()}

    def asked(self) -> dict[str, list[str]]:
        """The words of every picture."""
        return {group: [one.judged.text for one in made] for group, made in self.made.items()}


def evaluate(
    pipeline: Pipeline,
    count: int,
    *,
    seed: int = 0,
    steps: int = 4,
    modes: Sequence[str] = tuple(MODES),
    advance: Advance = lambda _: None,
) -> Evaluation:
    """Draw `count` pictures of each group through a pipeline and judge them.

    The same arguments ask for the same pictures from the same noise: picture i of every group starts from seed
    `seed` + i, so two pipelines can be compared picture by picture.

    Raises:
        ConfigError: a pipeline whose pictures are not square, or a count below 1.
    """
    check_square(pipeline.width, pipeline.height)
    if count < 1:
        raise ConfigError(f"--prompts {count}: at least 1 is needed")
    made: dict[str, list[Made]] = {}
    for group in (group for mode in modes for group in MODES[mode]):
        made[group] = []
        for index, asked in enumerate(asked_of(group, count, pipeline.width)):
            made[group].append(asked.judged(asked.draw(pipeline, seed + index, steps)))
            advance(1)
    return Evaluation(made)


def check_square(width: int, height: int) -> None:
    """ConfigError for pictures that the score cannot judge."""
    if width != height:
        raise ConfigError(f"size {width}x{height}: the score's scenes are square; export a square size")


def groups_of(modes: Sequence[str]) -> list[str]:
    """The groups that can be asked of these modes."""
    return [group for group in GROUPS if any(group in MODES[mode] for mode in modes)]


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture to draw: the words, the source of an edit, and how the picture is judged."""

    words: str
    judge: Callable[[Pixels], Judged]
    source: Image.Image | None = None

    def draw(self, pipeline: Pipeline, seed: int, steps: int) -> Image.Image:
        """The picture that a pipeline makes of it."""
        return finish(self.start(pipeline, initial_latents(seed, pipeline.latents_shape), steps)).picture

    def start(self, pipeline: Pipeline, noise: Array, steps: int) -> Run:
        if self.source is None:
            return pipeline.generate(self.words, noise, steps)
        return pipeline.edit(self.source, self.words, noise, steps)

    def read(self, pipeline: Pipeline) -> None:
        """What of it only reads, for who listens."""
        if self.source is None:
            pipeline.read(self.words, Stages())
        else:
            pipeline.read_edit(self.source, self.words, Stages())

    def judged(self, picture: Image.Image) -> Made:
        """A picture of it, with its judgement."""
        return Made(self.judge(np.asarray(picture)), picture, self.source)


def asked_of(group: str, count: int, side: int, seed: int = SEED) -> list[Asked]:
    """What a group asks for, the same for the same arguments; of more, the first are those of fewer."""
    held = group.endswith("held out")
    if group in MODES["generate"]:
        return [Asked(one.caption, partial(judge_generated, one)) for one in prompts(count, held, seed)]
    return [
        Asked(one.instruction, partial(judge_edited, one), Image.fromarray(render(one.edit.before, side)))
        for one in edits(count, held, seed)
    ]


def scores_json(found: dict[str, Score]) -> dict[str, Any]:
    """Shares by group and kind, and the mean PSNR in dB of what edits should have kept."""
    return {group: score_json(one) for group, one in found.items()}


def score_json(found: Score) -> dict[str, float]:
    """The same of one group."""
    kept = {} if found.kept_db is None else {"kept_db": found.kept_db}
    return {"overall": found.overall, **found.by_kind, **kept}


def contact_sheet(made: Sequence[Made], columns: int = 4) -> Image.Image:
    """Pictures in rows, edits beside their source, each over what was asked; a wrong one's words are red."""
    side = made[0].picture.width
    wide = (side if made[0].source is None else 2 * side) + GAP
    drawn = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    texts = [wrapped(drawn, one.judged.text, wide - GAP) for one in made]
    high = made[0].picture.height + GAP + LINE * max(text.count("\n") + 1 for text in texts)
    sheet = Image.new("RGB", (columns * wide - GAP, -(-len(made) // columns) * high), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (one, words) in enumerate(zip(made, texts, strict=True)):
        left, top = index % columns * wide, index // columns * high
        for offset, picture in enumerate(filter(None, (one.source, one.picture))):
            sheet.paste(picture, (left + offset * side, top))
        fill = "black" if one.judged.right else "red"
        draw.multiline_text((left, top + one.picture.height), words, fill=fill, spacing=1)
    return sheet


def wrapped(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text in lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
