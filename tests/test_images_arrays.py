"""Pictures to arrays and back, sizes, PNG files. Oracles: VaeImageProcessor (diffusers), Qwen2VLImageProcessor."""

import os
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_pictures import assert_same_picture, rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from upstream_prompts import image_processor

from dreamlite_mobile.config import MOBILE, TINY, VisionConfig
from dreamlite_mobile.errors import ConfigError, DreamLiteError, ImageError, OutputError
from dreamlite_mobile.images import (
    MAX_OUTPUT_SIDE,
    check_size,
    condition_image,
    load_image,
    parse_size,
    save_png,
    to_picture,
    vision_patches,
)

UPSTREAM = VaeImageProcessor(vae_scale_factor=16)

SIZES = [(256, 256), (1024, 1024), (512, 768), (320, 1024)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", [(48, 32), (701, 467), (1024, 1024)])
def test_condition_image_equals_diffusers_bit_for_bit(size: tuple[int, int], source: tuple[int, int]) -> None:
    image, (width, height) = rgb(*source), size
    found = condition_image(image, width, height)
    assert found.dtype == np.float32 and found.shape == (1, 3, height, width) and found.flags.c_contiguous
    np.testing.assert_array_equal(found, UPSTREAM.preprocess(image, height=height, width=width).numpy())
    assert found.min() >= -1 and found.max() <= 1


VISIONS = {
    "published": MOBILE.vision,
    "tiny": TINY.vision,
    "clip normalisation": VisionConfig(image_mean=(0.48, 0.46, 0.41), image_std=(0.27, 0.26, 0.28)),
}


def one_frame(pixel_values: np.ndarray, cfg: VisionConfig) -> np.ndarray:
    frames = pixel_values.reshape(-1, cfg.in_channels, cfg.temporal_patch_size, cfg.patch_size, cfg.patch_size)
    for frame in range(1, cfg.temporal_patch_size):
        np.testing.assert_array_equal(frames[:, :, 0], frames[:, :, frame])
    return frames[:, :, 0].reshape(len(frames), -1)


@pytest.mark.parametrize("cfg", VISIONS.values(), ids=VISIONS.keys())
@pytest.mark.parametrize("source", [(48, 32), (701, 467), (512, 512)])
def test_vision_patches_equal_the_qwen_processor_bit_for_bit(cfg: VisionConfig, source: tuple[int, int]) -> None:
    image = rgb(*source)
    resized = UPSTREAM.resize(image, height=512, width=512)
    upstream = image_processor(cfg)(images=[resized], return_tensors="pt")
    assert upstream["image_grid_thw"].tolist() == [[1, cfg.grid, cfg.grid]]
    found = vision_patches(image, cfg)
    assert found.dtype == np.float32 and found.shape == (cfg.num_patches, cfg.patch_dim) and found.flags.c_contiguous
    np.testing.assert_array_equal(found, one_frame(upstream["pixel_values"].numpy(), cfg))


def test_vision_patches_equal_the_numpy_qwen_processor_to_rounding() -> None:
    cfg, image = MOBILE.vision, rgb(701, 467)
    like = image_processor(cfg)
    slow = Qwen2VLImageProcessorPil(
        patch_size=16, image_mean=like.image_mean, image_std=like.image_std, size=dict(like.size)
    )
    expected = slow(images=[UPSTREAM.resize(image, height=512, width=512)], return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(vision_patches(image, cfg), one_frame(expected, cfg), atol=2e-7)


def test_pictures_that_are_not_rgb_are_refused_by_the_converters() -> None:
    for convert in (lambda i: condition_image(i, 64, 64), lambda i: vision_patches(i, MOBILE.vision)):
        with pytest.raises(ImageError, match="found mode L; RGB is needed"):
            convert(rgb().convert("L"))


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 3.0))
@settings(max_examples=30)
def test_to_picture_equals_diffusers(seed: int, scale: float) -> None:
    image = (np.random.default_rng(seed).standard_normal((1, 3, 24, 40)) * scale).astype(np.float32)
    expected = UPSTREAM.postprocess(torch.from_numpy(image), output_type="pil")[0]
    assert_same_picture(to_picture(image), expected)


def test_to_picture_rounds_as_diffusers_does_at_every_level() -> None:
    halves = np.arange(0, 255, 0.5, dtype=np.float32) / 255 * 2 - 1
    image = np.tile(halves, (1, 3, 2, 1)).astype(np.float32)
    assert_same_picture(to_picture(image), UPSTREAM.postprocess(torch.from_numpy(image))[0])


def test_a_picture_survives_the_way_in_and_out() -> None:
    assert_same_picture(to_picture(condition_image(rgb(64, 96), 64, 96)), rgb(64, 96))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_picture_refuses_what_is_not_finite(value: float) -> None:
    image = np.zeros((1, 3, 32, 32), np.float32)
    image[0, 1, 5, 5] = value
    with pytest.raises(DreamLiteError, match="NaN or infinity"):
        to_picture(image)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 3, 32, 32), (1, 4, 32, 32)])
def test_to_picture_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DreamLiteError, match="found shape"):
        to_picture(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", (1024, 1024)), ("768x1024", (768, 1024)), ("768X512", (768, 512)), (" 320 x 256 ", (320, 256))],
)
def test_sizes_are_read(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "x", "1024x", "x1024", "-512", "512.0", "1e3", "512x512x3", "٥١٢", "big", "1234567", "512,512", "0x200x3"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a size; write pixels as 1024 or WIDTHxHEIGHT"):
        parse_size(text)


@given(width=st.integers(1, 64), height=st.integers(1, 64), multiple=st.sampled_from([8, 16, 32]))
def test_multiples_pass(width: int, height: int, multiple: int) -> None:
    check_size(width * multiple, height * multiple, multiple)


@given(width=st.integers(-100, 3000), height=st.integers(-100, 3000))
@example(width=2050, height=2048)
@example(width=2080, height=15)
def test_other_sizes_are_refused_with_usable_suggestions(width: int, height: int) -> None:
    sides = (width, height)
    supported = all(0 < side <= MAX_OUTPUT_SIDE and side % 32 == 0 for side in sides)
    try:
        check_size(width, height, 32)
    except ConfigError as refusal:
        assert not supported
        for suggestion in str(refusal).split("nearest: ")[1].split(" or "):
            check_size(*parse_size(suggestion), 32)
            reachable = [min(max(side, 1), MAX_OUTPUT_SIDE) for side in sides]
            assert all(abs(a - b) < 32 for a, b in zip(parse_size(suggestion), reachable, strict=True))
    else:
        assert supported


def test_the_nearest_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"size 1000x720: .* multiples of 32; nearest: 992x704 or 1024x736"):
        check_size(1000, 720, 32)


NOTES = {"prompt": "ein Fuchs, 狐狸 🦊", "seed": "7", "model": "café", "odd": "nul\0 here", "empty": ""}


def test_png_holds_the_picture_and_its_notes(tmp_path: Path) -> None:
    save_png(rgb(), tmp_path / "out.png", NOTES)
    with Image.open(tmp_path / "out.png") as found:
        assert found.format == "PNG"
        assert_same_picture(found, rgb())
        assert found.text == NOTES | {"odd": "nul\ufffd here"}


def chunk_kinds(data: bytes) -> list[bytes]:
    kinds, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kinds.append(data[at + 4 : at + 8])
        at += 12 + size
    return kinds


def test_notes_are_plain_chunks_where_latin_1_suffices(tmp_path: Path) -> None:
    save_png(rgb(), tmp_path / "out.png", {"prompt": "狐狸", "seed": "7"})
    kinds = chunk_kinds((tmp_path / "out.png").read_bytes())
    assert kinds.count(b"iTXt") == 1 and kinds.count(b"tEXt") == 1


def test_writing_replaces_an_earlier_picture_with_ordinary_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_png(rgb(), tmp_path / "out.png", {})
        save_png(rgb(seed=1), tmp_path / "out.png", {})
    finally:
        os.umask(before)
    assert_same_picture(load_image(tmp_path / "out.png"), rgb(seed=1))
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_full_output_leaves_the_earlier_picture_and_nothing_else(tmp_path: Path) -> None:
    save_png(rgb(), tmp_path / "out.png", {})
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"out\.png: cannot be written"):
            save_png(noise, tmp_path / "out.png", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same_picture(load_image(tmp_path / "out.png"), rgb())
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_png(rgb(), tmp_path / "out.png", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["folder.png", "none/out.png", "file.txt/out.png", "out.jpg", "out", "x" * 300 + ".png"]
)
def test_places_that_cannot_be_written_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(OutputError):
        save_png(rgb(), tmp_path / place, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "folder.png"]
    assert list((tmp_path / "folder.png").iterdir()) == []


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="is a folder or a device"):
        save_png(rgb(), pipe, {})
    assert pipe.is_fifo()
