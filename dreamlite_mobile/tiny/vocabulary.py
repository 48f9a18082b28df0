"""A byte-level tokenizer for the embedded world, of Qwen's kind: same splitting, same control tokens, few merges.

Every word of the prompt templates is one token, as in Qwen's own vocabulary, so prefixes have the published lengths.
Any other text still works, down to single bytes.
"""

import json
from collections.abc import Iterable
from typing import Any

from dreamlite_mobile.tiny.wording import words

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 cuts text into words (transformers, `tokenization_qwen2.py`)."""

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
"""In the order of Qwen's ids, 151643 and following."""

MOST_WORDS = 1008
"""Ids for bytes and merges; the tiny checkpoint's control tokens begin here."""

TEMPLATE_REPEATS = 10
"""The templates' words are learnt before rarer ones of the captions."""


def train_tokenizer(templates: Iterable[str], control_start: int) -> str:
    """The `tokenizer.json` of the embedded world, the same for the same arguments.

    Args:
        templates: prompt templates and what goes with them; their words become one token each.
        control_start: id of `<|endoftext|>`; the other control tokens follow it. Ids below that the merges do not
            fill stay empty.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(MOST_WORDS, control_start),
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_corpus(templates), trainer)
    document = json.loads(tokenizer.to_str())
    return _with_control_tokens(document, control_start)


def _corpus(templates: Iterable[str]) -> Iterable[str]:
    for template in templates:
        text = template
        for token in CONTROL_TOKENS:
            text = text.replace(token, "\0")
        # control tokens stand alone in real use; the words beside them must be learnt apart from them
        yield from [part for part in text.split("\0") if part] * TEMPLATE_REPEATS
    yield from words()


def _with_control_tokens(document: dict[str, Any], control_start: int) -> str:
    """Place the control tokens at fixed ids, which the library's own API would only append."""
    document["model"]["vocab"] |= {token: control_start + offset for offset, token in enumerate(CONTROL_TOKENS)}
    document["added_tokens"] = [
        {
            "id": control_start + offset,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for offset, token in enumerate(CONTROL_TOKENS)
    ]
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def tokenizer_config() -> dict[str, Any]:
    """`tokenizer_config.json` beside it, as transformers reads it."""
    return {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "processor_class": "Qwen3VLProcessor",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
