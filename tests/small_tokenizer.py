"""A byte-level tokenizer of 600-odd tokens in Qwen's form: other ids, other drop counts, same rules."""

import json
from pathlib import Path

from qwen_vocabulary import CONTROL_TOKENS, added_tokens, byte_letters, tokenizer_document

WORDS = """
image describe the color shape size texture quantity text spatial relationships of objects and background system
user assistant generate edit input key features then explain how instruction should alter modify new diptych side
scene compared right left one has red green blue circle square cat snow tree house lake small large
"""


def write_small_tokenizer(folder: Path, control: tuple[str, ...] = CONTROL_TOKENS) -> Path:
    """Write a small `tokenizer.json` (letters, then words built from the left) and return its path."""
    vocab = {letter: i for i, letter in enumerate(byte_letters())}
    merges: list[tuple[str, str]] = []
    for form in (form for word in WORDS.split() for form in (word, "Ġ" + word)):
        for cut in range(1, len(form)):
            left, right = form[:cut], form[cut]
            if left + right not in vocab:
                vocab[left + right] = len(vocab)
                merges.append((left, right))
    document = tokenizer_document(vocab, merges, added_tokens(len(vocab), control, ("<think>", "</think>")))
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path
