"""Prompts to token ids: the published chat templates, dropped prefixes, padding and masks. No torch.

Mirrors `DreamLiteMobilePipeline.encode_prompt` for one prompt, with static lengths: what upstream cuts to the valid
tokens is padded on the right here (the text tower is causal, so padding changes nothing before it) and masked.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from dreamlite_mobile.errors import PromptError

Mode = Literal["generate", "edit"]

IM_START, IM_END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VISION_START, IMAGE_PAD, VISION_END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
PLACEHOLDERS = (VISION_START, VISION_END, IMAGE_PAD, "<|video_pad|>", "<|vision_pad|>")
"""Tokens that stand for a picture: in a prompt they would move or multiply the image rows, so they are refused."""

PUBLISHED_IDS = {IM_START: 151644, IMAGE_PAD: 151655}
PUBLISHED_DROPS: dict[Mode, int] = {"generate": 34, "edit": 64}
SHOWN_LOST = 160
"""Characters of the lost text that a warning quotes."""


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """What DreamLite-mobile was trained to read; every template and wording has one slot, written {}."""

    generate_template: str = (
        f"{IM_START}system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
        f"spatial relationships of the objects and background:{IM_END}\n"
        f"{IM_START}user\n{{}}{IM_END}\n{IM_START}assistant\n"
    )
    edit_template: str = (
        f"{IM_START}system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
        "background), then explain how the user's text instruction should alter or modify the image. Generate a new "
        "image that meets the user's requirements while maintaining consistency with the original input where "
        f"appropriate.{IM_END}\n{IM_START}user\n"
        f"{VISION_START}{IMAGE_PAD}{VISION_END}{{}}{IM_END}\n{IM_START}assistant\n"
    )
    generate_wording: str = "[Generate]: {}"
    edit_wording: str = (
        "[Edit]: A diptych with two side-by-side images of the same scene. "
        "Compared to the right side, the left one has {}"
    )
    max_prompt_tokens: int = 200
    """Generate: tokens kept after the dropped prefix, wording and closing of the template included."""
    edit_text_tokens: int = 208
    """Edit: tokens kept after the dropped prefix beside the image tokens (upstream: no limit)."""
    image_tokens: int = 256


@dataclass(frozen=True, slots=True)
class PromptShape:
    """Static lengths of one mode: the text tower reads `tokens`, drops the first `drop`, the U-Net sees `states`."""

    drop: int
    states: int

    @property
    def tokens(self) -> int:
        return self.drop + self.states


@dataclass(frozen=True, slots=True, eq=False)
class PromptLayout:
    """One tokenised prompt.

    `ids` int64 [tokens], padded on the right; `valid` of them count. `mask` float32 [states]: 1 valid, 0 padding,
    after the dropped prefix. `image`: (start, stop) of the image rows within `ids`, None in generate mode. `lost`: the
    end of the prompt that did not fit, "" if all of it did; `warning` says so in words (None: nothing was cut).
    """

    ids: NDArray[np.int64]
    valid: int
    mask: NDArray[np.float32]
    image: tuple[int, int] | None
    lost: str
    warning: str | None


class PromptEncoder:
    """Tokenises prompts with the `tokenizer.json` at `path`, as transformers' `Qwen2Tokenizer` does.

    `generate_shape` and `edit_shape` hold the static lengths. The drop counts follow from the tokenizer: tokens before
    the slot of the generate template, tokens before <|vision_start|> of the edit template.

    Control tokens written out in a prompt (<|im_end|>, <|endoftext|>, ...) are read as control tokens, as upstream
    does. Picture placeholders are refused. Every other character passes, NUL and control characters included.

    Raises:
        PromptError: the file is missing or no tokenizer, lacks a token that the templates need, adds tokens of its own,
            or is the published vocabulary but does not give the published drop counts (34 and 64).
    """

    def __init__(self, path: str | Path, cfg: PromptConfig | None = None) -> None:
        self.cfg = cfg or PromptConfig()
        self._tokenizer = _read_tokenizer(Path(path))
        needed = {token: self._id_of(token, path) for token in (IM_START, IM_END, VISION_START, IMAGE_PAD, VISION_END)}
        self.image_token_id = needed[IMAGE_PAD]
        self._placeholders = {
            found: token for token in PLACEHOLDERS if (found := self._tokenizer.token_to_id(token)) is not None
        }
        self.pad_id: int = self._tokenizer.token_to_id(PAD) or 0
        self.generate_shape = PromptShape(self._generate_drop(), self.cfg.max_prompt_tokens)
        self.edit_shape = PromptShape(self._edit_drop(needed), self.cfg.image_tokens + self.cfg.edit_text_tokens)
        self.is_published = all(needed[token] == number for token, number in PUBLISHED_IDS.items())
        if self.is_published:
            self._check_published_drops(path)

    @property
    def vocab_size(self) -> int:
        """Ids run from 0 to one less than this, added tokens included."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def generate_prefix(self) -> tuple[int, ...]:
        """The tokens that every prompt begins with, whatever it says."""
        return self._prefix("generate", self.generate_shape)

    @property
    def edit_prefix(self) -> tuple[int, ...]:
        """The same of every instruction: what stands before <|vision_start|>."""
        return self._prefix("edit", self.edit_shape)

    @property
    def image_slice(self) -> tuple[int, int]:
        """(start, stop) of the image rows within the ids of edit mode."""
        start = self.edit_shape.drop + 1
        return start, start + self.cfg.image_tokens

    def generate(self, prompt: str) -> PromptLayout:
        """Tokenise a prompt to make a picture from. Cut as upstream cuts: the *whole* text is limited to
        `max_prompt_tokens` after the prefix, so the template's closing tokens are lost first.

        Raises:
            PromptError: not text, empty, not valid Unicode, or with a picture placeholder inside.
        """
        encoding, text, end = self._encode("generate", prompt)
        self._refuse_placeholders(encoding.ids)
        lost = self._lost(encoding, self.generate_shape.tokens, text, end)
        return self._layout(encoding.ids, self.generate_shape, None, lost)

    def edit(self, instruction: str) -> PromptLayout:
        """Tokenise an instruction to change a picture. `image` names the rows that the image tokens replace.

        Upstream has no limit here; the static graph does, and the same rule as in generate mode applies.

        Raises:
            PromptError: as for `generate`.
        """
        encoding, text, end = self._encode("edit", instruction)
        ids, at = encoding.ids, self.image_slice[0]
        self._refuse_placeholders(ids[at + 2 :])
        spread = self.cfg.image_tokens - 1
        lost = self._lost(encoding, self.edit_shape.tokens - spread, text, end)
        full = [*ids[:at], *[self.image_token_id] * self.cfg.image_tokens, *ids[at + 1 :]]
        return self._layout(full, self.edit_shape, self.image_slice, lost)

    def _encode(self, mode: Mode, prompt: str) -> tuple[Encoding, str, int]:
        """The encoding of the filled template, its text, and where the prompt ends in it."""
        _check_text(prompt)
        before, after = self._frame(mode)
        text = before + prompt + after
        return self._tokenizer.encode(text), text, len(text) - len(after)

    def _frame(self, mode: Mode) -> tuple[str, str]:
        """What stands before and after the user's words."""
        generate = mode == "generate"
        template = _halves(self.cfg.generate_template if generate else self.cfg.edit_template)
        wording = _halves(self.cfg.generate_wording if generate else self.cfg.edit_wording)
        return template[0] + wording[0], wording[1] + template[1]

    def _prefix(self, mode: Mode, shape: PromptShape) -> tuple[int, ...]:
        encoding, _, _ = self._encode(mode, "x")
        return tuple(encoding.ids[: shape.drop])

    def _generate_drop(self) -> int:
        slot = len(_halves(self.cfg.generate_template)[0])
        before, after = self._frame("generate")
        offsets = self._tokenizer.encode(before + "x" + after).offsets
        drop = sum(stop <= slot for _, stop in offsets)
        if offsets[drop][0] < slot:
            raise PromptError("tokenizer: a token reaches across the slot of the generate template; it cannot be cut")
        return drop

    def _edit_drop(self, needed: dict[str, int]) -> int:
        before, after = self._frame("edit")
        ids = self._tokenizer.encode(before + "x" + after).ids
        wanted = [needed[VISION_START], needed[IMAGE_PAD], needed[VISION_END]]
        places = [i for i in range(len(ids) - 2) if ids[i : i + 3] == wanted]
        if len(places) != 1 or sum(i in self._placeholders for i in ids) != 3:
            raise PromptError(
                f"edit template: found {len(places)} places for a picture; exactly one"
                f" {VISION_START}{IMAGE_PAD}{VISION_END} is supported"
            )
        return places[0]

    def _check_published_drops(self, path: str | Path) -> None:
        published = PromptConfig()
        pairs: list[tuple[Mode, int, bool]] = [
            ("generate", self.generate_shape.drop, self.cfg.generate_template == published.generate_template),
            ("edit", self.edit_shape.drop, self.cfg.edit_template == published.edit_template),
        ]
        for mode, found, same_template in pairs:
            if same_template and found != PUBLISHED_DROPS[mode]:
                raise PromptError(
                    f"tokenizer {path}: the ids are Qwen's, but the {mode} template's prefix takes {found} tokens"
                    f" and not {PUBLISHED_DROPS[mode]}; the file is altered, take it from the checkpoint again"
                )

    def _id_of(self, token: str, path: str | Path) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None or self._tokenizer.encode(token).ids != [found]:
            raise PromptError(f"tokenizer {path}: has no token {token}; take tokenizer.json from the checkpoint")
        return int(found)

    def _refuse_placeholders(self, ids: list[int]) -> None:
        for token_id in ids:
            if token_id in self._placeholders:
                raise PromptError(
                    f"prompt: contains {self._placeholders[token_id]}, which stands for a picture; remove it or"
                    " put a space inside it"
                )

    def _lost(self, encoding: Encoding, limit: int, text: str, end: int) -> str | None:
        """The end of the prompt from the first token over `limit` on; None when everything fits."""
        return None if len(encoding.ids) <= limit else text[encoding.offsets[limit][0] : end]

    def _layout(
        self, ids: list[int], shape: PromptShape, image: tuple[int, int] | None, lost: str | None
    ) -> PromptLayout:
        valid = min(len(ids), shape.tokens)
        padded = np.full(shape.tokens, self.pad_id, np.int64)
        padded[:valid] = ids[:valid]
        mask = (np.arange(shape.states) < valid - shape.drop).astype(np.float32)
        warning = None if lost is None else _warning(len(ids) - shape.drop, shape.states, lost)
        return PromptLayout(padded, valid, mask, image, lost or "", warning)


def _read_tokenizer(path: Path) -> Tokenizer:
    mend = "give the checkpoint's tokenizer.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError(f"tokenizer {path}: cannot be read ({error.strerror}); {mend}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"tokenizer {path}: not a text file; {mend}") from error
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise PromptError(f"tokenizer {path}: not a usable tokenizer.json ({error}); {mend}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.num_special_tokens_to_add(is_pair=False):
        raise PromptError(f"tokenizer {path}: adds tokens around every text, which Qwen's does not; {mend}")
    return tokenizer


def _check_text(prompt: str) -> None:
    if not isinstance(prompt, str):
        raise PromptError(f"prompt: found {type(prompt).__name__}; a text (str) is needed")
    if not prompt.strip():
        raise PromptError("prompt: empty; say in words what the picture should show")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"prompt: character {error.start} is half of a surrogate pair (U+{ord(prompt[error.start]):04X}), which is"
            " no text; write the whole character"
        ) from error


def _halves(template: str) -> tuple[str, str]:
    before, *rest = template.split("{}")
    if len(rest) != 1:
        raise PromptError(f"template {template!r}: found {len(rest)} slots; exactly one {{}} is supported")
    return before, rest[0]


def _warning(found: int, limit: int, lost: str) -> str:
    head = f"the prompt takes {found} tokens with its template, {limit} are read; "
    if not lost:
        return head + "only closing tokens of the template were cut, none of your words"
    shown = lost if len(lost) <= SHOWN_LOST else f"{lost[: SHOWN_LOST // 2]} ... {lost[-SHOWN_LOST // 2 :]}"
    return head + f"lost: {shown!r}"
