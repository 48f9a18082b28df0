"""Texts that are hard to tokenise, the same ones every time. Standard library only."""

# ruff: noqa: RUF001 - look-alike letters are the point

import random
import unicodedata
from collections.abc import Iterator

FRAGMENTS = (
    "a red fox", "Ein Bär läuft", "naïve café", "cafe\u0301", "n\u0303o", "Å \u212b A\u030a",
    "q\u0307\u0323", "ﬁne ﬂow", "①②③", "½ ⅓ Ⅷ", "狐狸在雪地里", "吾輩は猫である", "ガギグ", "カ\u3099", "한국어 문장",
    "\u1112\u1161\u11ab", "Привет, мир", "Γειά σου", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया",
    "ภาษาไทย", "မြန်မာ", "አማርኛ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𓂀𓃠", "🐈‍⬛", "👩🏽‍🚀", "🇩🇪🇯🇵", "❤️",
    "z\u0335\u0321a\u0338l\u0336go", "\u200b", "\u200f", "\ufeff", "\u00ad", "\u00a0", "\u3000", "\u2028",
    "\u2029", "\u1680", "\x85", "\x00", "\x07", "\x0b", "\x0c", "\x1c", "\x1b[0m", "\x7f", "\n", "\r\n",
    "\r", "\t", " ", "  ", "    ", " \n ", "\n\n\n", " \t\r\n x", "...", "!?", "-- ---", " !", " !\n\n",
    "don't I'LL we'Ve", "'s 'S 'T 're 'M 'd", "it\u2019s", "'ſ", "'\u212a", "'x", "''ll", "3.14159",
    "1234567890", "x2y", "{}", "{0}", "{prompt}", "%s", "\\n", "<b>", "</s>", "<|", "|>", "<|im",
    "<|im_end|>", "<|im_start|>user", "<|endoftext|>", "<|im_end|><|im_end|>", "<|im_en|>", "<think>",
    "</think>", "<tool_call>", "<|fim_pad|>", "<|box_start|>", "<|vision_start|>", "<|image_pad|>", "ſ",
    "ß ẞ", "İi̇", "Ǆ", "\U0001f9ff", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", "\u0344", "\u0958",
    "\U0001d15e", "\u1e9b\u0323", "\uac00\u11a8", "\u0f43",
)  # fmt: skip
"""Scripts, emoji, combining marks, control characters, white space, contractions, look-alikes of special tokens."""

_LONGEST = 12
_OLD = unicodedata.ucd_3_2_0
"""Random characters were assigned in Unicode 3.2: tables of every platform agree on these, which newer ones do not."""


def hard_texts(count: int, seed: int = 0) -> Iterator[str]:
    """`count` texts: every fragment alone, then mixtures of fragments and of random characters."""
    yield from FRAGMENTS[:count]
    rng = random.Random(seed)  # noqa: S311 - nothing secret about it
    for index in range(max(0, count - len(FRAGMENTS))):
        yield _mixture(rng) if index % 2 else _characters(rng)


def _mixture(rng: random.Random) -> str:
    parts = rng.choices(FRAGMENTS, k=rng.randint(2, 5))
    return rng.choice(("", " ", "\n", "  ")).join(parts)


def _characters(rng: random.Random) -> str:
    kinds = (_ascii, _ascii, _latin, _any, _space)
    return "".join(rng.choice(kinds)(rng) for _ in range(rng.randint(1, _LONGEST)))


def _ascii(rng: random.Random) -> str:
    return chr(rng.randint(0x20, 0x7E))


def _latin(rng: random.Random) -> str:
    return chr(rng.randint(0xA0, 0x24F)) + chr(rng.randint(0x300, 0x345)) * rng.randint(0, 2)


def _space(rng: random.Random) -> str:
    return rng.choice(" \t\n\r\x0b\x0c\x85\u00a0\u2003\u2028\u3000") * rng.randint(1, 3)


def _any(rng: random.Random) -> str:
    while True:
        letter = chr(rng.randint(0x370, 0xFFFD))
        if _OLD.category(letter) not in ("Cn", "Cs") and unicodedata.category(letter) == _OLD.category(letter):
            return letter
