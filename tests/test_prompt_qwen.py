"""Oracle: transformers' Qwen2Tokenizer and Qwen3VLProcessor inside diffusers' encode_prompt, published vocabulary."""

# ruff: noqa: RUF001 - look-alike letters are the point of the corpus

import random
from inspect import getsource
from pathlib import Path

import numpy as np
import pytest
from diffusers import DreamLiteMobilePipeline
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qwen_vocabulary import write_published_tokenizer
from upstream_prompts import UpstreamPrompts

from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.errors import PromptError
from dreamlite_mobile.networks.positions import mrope_positions
from dreamlite_mobile.prompt import PLACEHOLDERS, PromptConfig, PromptEncoder, PromptShape

FRAGMENTS = (
    "a red fox", "Ein Bär läuft", "naïve café", "cafe\u0301", "n\u0303", "Å \u212b A\u030a",
    "ﬁne ﬂow", "①②③", "½ ⅓", "狐狸在雪地里",
    "吾輩は猫である", "ガギグ", "カ\u3099", "한국어 문장", "\u1112\u1161\u11ab",
    "Привет, мир", "Γειά σου", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "ภาษาไทย", "မြန်မာ",
    "አማርኛ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "🐈‍⬛", "👩🏽‍🚀", "🇩🇪🇯🇵", "❤️", "z\u0335\u0321a\u0338\u0322l\u0336go", "\u200b",
    "\u200f", "\ufeff", "\u00a0", "\u3000", "\u2028", "\x85", "\x00", "\x07", "\x1b[0m", "\x7f",
    "\n", "\r\n", "\r", "\t", "  ", "    ", " \n ", "\n\n\n", "...", "!?", "-- ---",
    "don't I'LL we'Ve", "3.14159", "1234567890", "{}", "{0}", "{prompt}", "%s", "\\n", "<b>",
    "</s>", "<|", "|>", "<|im", "<|im_end|>", "<|im_start|>user", "<|endoftext|>", "<think>",
    "</think>", "<tool_call>", "<|fim_pad|>", "<|box_start|>", "ſ", "ß ẞ", "İi̇", "Ǆ", "\U0001f9ff",
    "\U0010ffff", "\ud7ff", "\ufffd",
)  # fmt: skip
PAIRS = [f"{random.Random(i).choice(FRAGMENTS)}{part}" for i, part in enumerate(FRAGMENTS * 3)]
CORPUS = [text for text in (*FRAGMENTS, *PAIRS) if text.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published_tokenizer(tmp_path_factory.mktemp("qwen")).parent


@pytest.fixture(scope="module")
def encoder(folder: Path) -> PromptEncoder:
    return PromptEncoder(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def upstream(folder: Path, encoder: PromptEncoder) -> UpstreamPrompts:
    return UpstreamPrompts(folder, MOBILE.vision, encoder)


def test_the_published_vocabulary_drops_34_and_64(encoder: PromptEncoder) -> None:
    assert encoder.is_published
    assert encoder.generate_shape == PromptShape(drop=34, states=200)
    assert encoder.edit_shape == PromptShape(drop=64, states=464)
    assert encoder.image_slice == (65, 321)
    assert encoder.vocab_size == 151669 <= MOBILE.text.vocab_size
    assert encoder.image_token_id == MOBILE.text.image_token_id


def test_67_tokens_come_before_the_words_of_an_edit(encoder: PromptEncoder) -> None:
    ids = encoder.edit("x").ids
    assert ids[64] == MOBILE.text.vision_start_token_id
    assert ids[64 + 1 + 256] == MOBILE.text.vision_end_token_id
    assert (ids == MOBILE.text.image_token_id).sum() == 256


def test_templates_are_upstreams(upstream: UpstreamPrompts) -> None:
    cfg = PromptConfig()
    assert cfg.generate_template == upstream.pipeline.prompt_template_encode_generate
    assert cfg.edit_template == upstream.pipeline.prompt_template_encode_edit


def test_wordings_are_upstreams() -> None:
    source = "".join(getsource(DreamLiteMobilePipeline.__call__).split('"\n                f"'))
    assert f'f"{PromptConfig().generate_wording.replace("{}", "{prompt}")}"' in source
    assert f'f"{PromptConfig().edit_wording.replace("{}", "{prompt}")}"' in source


def test_published_constants_are_upstreams() -> None:
    fresh = DreamLiteMobilePipeline(None, None, None, None, None, None)
    assert fresh.prompt_template_encode_generate_start_idx == 34
    assert fresh.prompt_template_encode_edit_start_idx == 64
    assert PromptConfig().image_tokens == MOBILE.vision.num_tokens


def test_the_corpus_is_wide() -> None:
    assert len(CORPUS) > 300


@pytest.mark.parametrize("chunk", range(4))
def test_generate_keeps_the_ids_upstream_keeps(encoder: PromptEncoder, upstream: UpstreamPrompts, chunk: int) -> None:
    for prompt in CORPUS[chunk::4]:
        layout, drop = encoder.generate(prompt), encoder.generate_shape.drop
        expected = upstream.kept_ids("generate", prompt)
        np.testing.assert_array_equal(layout.ids[drop : layout.valid], expected, err_msg=repr(prompt))
        np.testing.assert_array_equal(layout.ids[: layout.valid], upstream.echo.seen["input_ids"][0].numpy())
        assert layout.mask.sum() == len(expected) and layout.warning is None


@pytest.mark.parametrize("chunk", range(4))
def test_edit_keeps_the_ids_upstream_keeps(encoder: PromptEncoder, upstream: UpstreamPrompts, chunk: int) -> None:
    for prompt in CORPUS[chunk::16]:
        layout, drop = encoder.edit(prompt), encoder.edit_shape.drop
        expected = upstream.kept_ids("edit", prompt)
        np.testing.assert_array_equal(layout.ids[drop : layout.valid], expected, err_msg=repr(prompt))
        np.testing.assert_array_equal(layout.ids[: layout.valid], upstream.echo.seen["input_ids"][0].numpy())
        assert layout.mask.sum() == len(expected) and layout.warning is None


def test_any_text_gives_upstreams_ids(encoder: PromptEncoder, upstream: UpstreamPrompts) -> None:
    @given(prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(str.strip))
    @settings(max_examples=150)
    def check(prompt: str) -> None:
        assume(not any(token in prompt for token in PLACEHOLDERS))
        layout, drop = encoder.generate(prompt), encoder.generate_shape.drop
        np.testing.assert_array_equal(layout.ids[drop : layout.valid], upstream.kept_ids("generate", prompt))

    check()


@pytest.mark.parametrize("words", [150, 191, 192, 193, 196, 197, 198, 200, 500])
def test_long_prompts_are_cut_where_upstream_cuts(
    encoder: PromptEncoder, upstream: UpstreamPrompts, words: int
) -> None:
    prompt = " ".join(["snow"] * words)
    layout = encoder.generate(prompt)
    np.testing.assert_array_equal(layout.ids[34 : layout.valid], upstream.kept_ids("generate", prompt))
    wording, closing = 3, 5
    assert (layout.warning is None) == (wording + words + closing <= 200)
    assert layout.lost.split() == ["snow"] * max(0, words - (200 - wording))


def test_a_cut_inside_a_character_loses_the_whole_character(encoder: PromptEncoder) -> None:
    layout = encoder.generate("\U00013080" * 120)
    assert set(layout.lost) == {"\U00013080"}
    assert layout.warning is not None and "\U00013080" in layout.warning


def test_edit_positions_are_upstreams(encoder: PromptEncoder, upstream: UpstreamPrompts) -> None:
    layout = encoder.edit("a hat with a long feather")
    upstream.kept_ids("edit", "a hat with a long feather")
    positions = mrope_positions(encoder.edit_shape.tokens, layout.image, 16)
    assert positions.dtype == np.int64 and positions.shape == (3, encoder.edit_shape.tokens)
    np.testing.assert_array_equal(positions[:, : layout.valid], upstream.positions())


def test_an_altered_published_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    altered = tmp_path / "tokenizer.json"
    altered.write_text(text.replace('["us", "er"], ', ""), encoding="utf-8")
    with pytest.raises(PromptError, match=r"the generate template's prefix takes .* and not 34"):
        PromptEncoder(altered)
