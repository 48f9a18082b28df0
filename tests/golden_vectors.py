"""Golden vectors of the tiny checkpoint's bundle and both vocabularies, written once per run. Shared: do not change."""

from functools import cache
from pathlib import Path

from bundles import exported
from qwen_vocabulary import write_published_tokenizer
from run_folder import made_once

from dreamlite_mobile.golden.write import write_golden


@cache
def golden_folder() -> Path:
    """What `dreamlite golden` writes."""
    qwen = made_once("qwen", lambda out: (out.mkdir(), write_published_tokenizer(out)))
    bundle = exported("fp32")
    tokenizers = {"qwen": qwen / "tokenizer.json", "tiny": bundle / "tokenizer.json"}
    return made_once("golden", lambda out: write_golden(out, tokenizers, bundle))
