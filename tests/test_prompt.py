"""Prompt layouts with a small tokenizer. Oracles: transformers (upstream_prompts) and the plain rules of prompt.py."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qwen_vocabulary import CONTROL_TOKENS
from small_tokenizer import write_small_tokenizer
from upstream_prompts import UpstreamPrompts

from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ConfigError, PromptError
from dreamlite_mobile.networks.positions import mrope_positions
from dreamlite_mobile.prompt import PLACEHOLDERS, PromptConfig, PromptEncoder

TINY_PROMPTS = PromptConfig(image_tokens=TINY.vision.num_tokens)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(str.strip)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_tokenizer(tmp_path_factory.mktemp("small")).parent


@pytest.fixture(scope="module")
def encoder(folder: Path) -> PromptEncoder:
    return PromptEncoder(folder / "tokenizer.json", TINY_PROMPTS)


@pytest.fixture(scope="module")
def upstream(folder: Path, encoder: PromptEncoder) -> UpstreamPrompts:
    return UpstreamPrompts(folder, TINY.vision, encoder)


def sane(prompt: str) -> bool:
    return not any(token in prompt for token in PLACEHOLDERS)


def test_another_vocabulary_has_its_own_drop_counts(encoder: PromptEncoder) -> None:
    assert not encoder.is_published
    generate, edit = encoder.generate_shape, encoder.edit_shape
    assert (generate.states, edit.states) == (200, 64 + 208)
    assert generate.drop != 34 and edit.drop != 64
    assert generate.tokens == generate.drop + 200 and edit.tokens == edit.drop + 272


def test_dropped_prefixes_end_where_the_words_begin(encoder: PromptEncoder) -> None:
    first, other = encoder.generate("a cat"), encoder.generate("snow on a lake")
    drop = encoder.generate_shape.drop
    np.testing.assert_array_equal(first.ids[:drop], other.ids[:drop])
    assert first.ids[drop - 1] == ord("\n") and first.ids[drop] == ord("[")


def test_generate_layout_is_static(encoder: PromptEncoder) -> None:
    layout = encoder.generate("a cat")
    shape = encoder.generate_shape
    assert layout.ids.dtype == np.int64 and layout.ids.shape == (shape.tokens,)
    assert layout.mask.dtype == np.float32 and layout.mask.shape == (shape.states,)
    assert (layout.ids[layout.valid :] == encoder.pad_id).all()
    kept = layout.valid - shape.drop
    assert layout.mask[:kept].all() and not layout.mask[kept:].any()
    assert layout.image is None and layout.lost == "" and layout.warning is None


def test_edit_layout_holds_the_image_rows(encoder: PromptEncoder) -> None:
    layout = encoder.edit("a red hat")
    start, stop = encoder.image_slice
    assert layout.image == (start, stop) and stop - start == 64 and start == encoder.edit_shape.drop + 1
    assert (layout.ids[start:stop] == encoder.image_token_id).all()
    assert (layout.ids == encoder.image_token_id).sum() == 64
    assert layout.mask.shape == (272,) and layout.mask.sum() == layout.valid - encoder.edit_shape.drop


@given(prompt=TEXT)
@settings(max_examples=60)
def test_generate_keeps_the_ids_upstream_keeps(encoder: PromptEncoder, upstream: UpstreamPrompts, prompt: str) -> None:
    assume(sane(prompt))
    layout = encoder.generate(prompt)
    np.testing.assert_array_equal(
        layout.ids[encoder.generate_shape.drop : layout.valid], upstream.kept_ids("generate", prompt)
    )
    np.testing.assert_array_equal(layout.ids[: layout.valid], upstream.echo.seen["input_ids"][0].numpy())


@given(prompt=TEXT)
@settings(max_examples=60)
def test_edit_keeps_the_first_ids_upstream_reads(
    encoder: PromptEncoder, upstream: UpstreamPrompts, prompt: str
) -> None:
    assume(sane(prompt))
    layout = encoder.edit(prompt)
    kept = upstream.kept_ids("edit", prompt)
    np.testing.assert_array_equal(layout.ids[encoder.edit_shape.drop : layout.valid], kept[:272])
    assert (layout.warning is not None) == (len(kept) > 272)


@given(prompt=TEXT)
def test_lost_is_the_end_of_the_prompt(encoder: PromptEncoder, prompt: str) -> None:
    assume(sane(prompt))
    layout = encoder.generate(prompt)
    assert prompt.endswith(layout.lost)
    assert layout.warning is not None or layout.lost == ""


@pytest.mark.parametrize("over", [-100, -1, 0, 1, 2, 90])
def test_a_long_instruction_is_cut_with_a_warning(encoder: PromptEncoder, upstream: UpstreamPrompts, over: int) -> None:
    closing = len(upstream.tokenizer("<|im_end|>\n<|im_start|>assistant\n").input_ids)
    around = encoder.edit("q").valid - encoder.edit_shape.drop - 1 - closing
    layout = encoder.edit("q" * (encoder.edit_shape.states - around + over))
    assert layout.lost == "q" * max(0, over)
    if over > -closing:
        assert layout.valid == encoder.edit_shape.tokens and layout.mask.all()
        assert layout.warning is not None and "272 are read" in layout.warning
    else:
        assert layout.warning is None


def test_a_cut_that_takes_only_the_closing_tokens_says_so(encoder: PromptEncoder) -> None:
    wording_tokens = encoder.generate("q").valid - encoder.generate_shape.drop - 1
    fits = "q" * (200 - wording_tokens)
    assert encoder.generate(fits).warning is None
    layout = encoder.generate(fits + "q")
    assert layout.lost == "" and layout.warning is not None and "none of your words" in layout.warning


def test_a_warning_quotes_the_lost_words_briefly(encoder: PromptEncoder) -> None:
    warning = encoder.generate("first " + "xyz " * 500 + "last").warning
    assert warning is not None and warning.endswith("last'") and "first" not in warning and len(warning) < 300


@pytest.mark.parametrize("prompt", ["{}", "{0} {name}", "a {} b {} c", "%s %d", "{{}}", "}{"])
def test_braces_are_ordinary_characters(encoder: PromptEncoder, upstream: UpstreamPrompts, prompt: str) -> None:
    layout = encoder.generate(prompt)
    np.testing.assert_array_equal(
        layout.ids[encoder.generate_shape.drop : layout.valid], upstream.kept_ids("generate", prompt)
    )


@pytest.mark.parametrize("token", PLACEHOLDERS)
@pytest.mark.parametrize("prompt", ["{}", "a cat {} and more", "{}" * 3, "x" * 900 + "{}"])
def test_picture_placeholders_are_refused_by_name(encoder: PromptEncoder, token: str, prompt: str) -> None:
    for mode in (encoder.generate, encoder.edit):
        with pytest.raises(PromptError, match=r"prompt: contains <\|.*, which stands for a picture") as refusal:
            mode(prompt.replace("{}", token))
        assert token in str(refusal.value)


@pytest.mark.parametrize("prompt", ["<| image_pad|>", "image_pad", "<|image_pad", "<|IMAGE_PAD|>"])
def test_what_only_resembles_a_placeholder_passes(encoder: PromptEncoder, prompt: str) -> None:
    assert encoder.edit(prompt).warning is None


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<think>"])
def test_other_control_tokens_are_read_as_upstream_reads_them(
    encoder: PromptEncoder, upstream: UpstreamPrompts, token: str
) -> None:
    prompt = f"a cat{token} on a hat"
    kept = upstream.kept_ids("generate", prompt)
    assert upstream.tokenizer.convert_tokens_to_ids(token) in kept
    layout = encoder.generate(prompt)
    np.testing.assert_array_equal(layout.ids[encoder.generate_shape.drop : layout.valid], kept)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "\u3000\u2003", "\x85"])
def test_empty_prompts_are_refused(encoder: PromptEncoder, prompt: str) -> None:
    for mode in (encoder.generate, encoder.edit):
        with pytest.raises(PromptError, match="prompt: empty"):
            mode(prompt)


@pytest.mark.parametrize("prompt", [None, 5, b"a cat", ["a cat"]])
def test_what_is_not_text_is_refused(encoder: PromptEncoder, prompt: object) -> None:
    with pytest.raises(PromptError, match=rf"found {type(prompt).__name__}; a text"):
        encoder.generate(prompt)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["a \ud83d cat", "\udfff", "ok \udc80"])
def test_lone_surrogates_are_refused(encoder: PromptEncoder, prompt: str) -> None:
    with pytest.raises(PromptError, match=r"character \d+ is half of a surrogate pair \(U\+D"):
        encoder.edit(prompt)


def test_a_nul_passes_as_upstream_lets_it_pass(encoder: PromptEncoder, upstream: UpstreamPrompts) -> None:
    layout = encoder.generate("a\x00b")
    np.testing.assert_array_equal(
        layout.ids[encoder.generate_shape.drop : layout.valid], upstream.kept_ids("generate", "a\x00b")
    )


def test_settings_stored_in_the_tokenizer_file_are_ignored(
    folder: Path, encoder: PromptEncoder, tmp_path: Path
) -> None:
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["truncation"] = {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    document["padding"] = {
        "strategy": {"Fixed": 512}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "!",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    again = PromptEncoder(tmp_path / "tokenizer.json", TINY_PROMPTS)
    np.testing.assert_array_equal(again.generate("a cat").ids, encoder.generate("a cat").ids)


@pytest.mark.parametrize("missing", ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>"])
def test_a_tokenizer_without_a_needed_token_is_refused(tmp_path: Path, missing: str) -> None:
    path = write_small_tokenizer(tmp_path, tuple(token for token in CONTROL_TOKENS if token != missing))
    with pytest.raises(PromptError, match=r"has no token <\|") as refusal:
        PromptEncoder(path, TINY_PROMPTS)
    assert missing in str(refusal.value)


def test_a_tokenizer_that_adds_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "!", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"!": {"id": "!", "ids": [0], "tokens": ["!"]}},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(PromptError, match="adds tokens around every text"):
        PromptEncoder(tmp_path / "tokenizer.json", TINY_PROMPTS)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b"not json", b'{"version": "1.0", "model": {}}'])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(PromptError, match=r"tokenizer .*tokenizer.json: not a .*checkpoint's tokenizer.json"):
        PromptEncoder(tmp_path / "tokenizer.json")


@given(cut=st.integers(0, 20_000))
@settings(max_examples=30)
def test_a_truncated_tokenizer_is_refused(folder: Path, cut: int) -> None:
    whole = (folder / "tokenizer.json").read_bytes()
    broken = folder / "broken.json"
    broken.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(PromptError):
        PromptEncoder(broken)


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "tokenizer.json", tmp_path):
        with pytest.raises(PromptError, match="cannot be read"):
            PromptEncoder(path)


@pytest.mark.parametrize("template", ["no slot", "two {} slots {}"])
def test_a_template_without_exactly_one_slot_is_refused(folder: Path, template: str) -> None:
    for cfg in (
        replace(TINY_PROMPTS, generate_template=template),
        replace(TINY_PROMPTS, edit_template=template),
        replace(TINY_PROMPTS, generate_wording=template),
    ):
        with pytest.raises(PromptError, match=r"exactly one \{\}"):
            PromptEncoder(folder / "tokenizer.json", cfg)


@pytest.mark.parametrize("picture", ["", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>" * 2])
def test_an_edit_template_without_exactly_one_picture_is_refused(folder: Path, picture: str) -> None:
    template = TINY_PROMPTS.edit_template.replace("<|vision_start|><|image_pad|><|vision_end|>", picture)
    with pytest.raises(PromptError, match="places for a picture"):
        PromptEncoder(folder / "tokenizer.json", replace(TINY_PROMPTS, edit_template=template))


def test_a_slot_inside_a_token_is_refused(folder: Path) -> None:
    cfg = replace(TINY_PROMPTS, generate_template="<|im_start|>sha{}", generate_wording="pe {}")
    with pytest.raises(PromptError, match="reaches across the slot"):
        PromptEncoder(folder / "tokenizer.json", cfg)


def test_edit_positions_are_upstreams(encoder: PromptEncoder, upstream: UpstreamPrompts) -> None:
    for instruction in ("a hat", "q" * 150):
        layout = encoder.edit(instruction)
        upstream.kept_ids("edit", instruction)
        positions = mrope_positions(encoder.edit_shape.tokens, layout.image, 8)
        np.testing.assert_array_equal(positions[:, : layout.valid], upstream.positions()[:, : layout.valid])


def test_generate_positions_count_up() -> None:
    positions = mrope_positions(7, None, 16)
    assert positions.dtype == np.int64
    np.testing.assert_array_equal(positions, [list(range(7))] * 3)


@pytest.mark.parametrize(("length", "image", "grid"), [(9, (2, 5), 2), (5, (2, 6), 2), (9, (-1, 3), 2), (9, (2, 2), 0)])
def test_image_rows_that_are_no_grid_in_the_sequence_are_refused(
    length: int, image: tuple[int, int], grid: int
) -> None:
    with pytest.raises(ConfigError, match="image tokens"):
        mrope_positions(length, image, grid)
