"""Oracles: diffusers' load_image and VaeImageProcessor, transformers' Qwen2VLImageProcessor."""

import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import load_image as upstream_load_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from upstream_prompts import image_processor

from dreamlite_mobile.config import MOBILE, TINY, VisionConfig
from dreamlite_mobile.errors import ConfigError, DreamLiteError, ImageError, OutputError
from dreamlite_mobile.images import (
    check_size,
    condition_image,
    load_image,
    parse_size,
    save_png,
    to_picture,
    vision_patches,
)

UPSTREAM = VaeImageProcessor(vae_scale_factor=16)


def colourful(width: int = 48, height: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random colours, so that a lossy format keeps them recognisable."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 4), dtype=np.uint8), "RGBA")
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))[..., :channels].copy()


def rgb(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(colourful(width, height, seed=seed))


def rgba() -> Image.Image:
    return Image.fromarray(colourful(channels=4))


def palette(transparent: bool) -> Image.Image:
    image = rgb().quantize(16)
    if transparent:
        image.info["transparency"] = bytes(range(0, 256, 16))
    return image


def write(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


SANE: dict[str, Callable[[Path], Path]] = {
    "rgb.png": lambda p: write(rgb(), p),
    "rgba.png": lambda p: write(rgba(), p),
    "grey.png": lambda p: write(rgb().convert("L"), p),
    "grey_alpha.png": lambda p: write(rgba().convert("LA"), p),
    "palette.png": lambda p: write(palette(False), p),
    "palette_transparent.png": lambda p: write(palette(True), p),
    "one_bit.png": lambda p: write(rgb().convert("1"), p),
    "rgb.jpg": lambda p: write(rgb(), p, quality=90),
    "grey.jpg": lambda p: write(rgb().convert("L"), p),
    "cmyk.jpg": lambda p: write(rgb().convert("CMYK"), p),
    "progressive.jpg": lambda p: write(rgb(), p, progressive=True),
    "rgb.webp": lambda p: write(rgb(), p),
    "rgba.webp": lambda p: write(rgba(), p, lossless=True),
    "rgb.avif": lambda p: write(rgb(), p),
    "rgb.bmp": lambda p: write(rgb(), p),
    "palette.gif": lambda p: write(palette(False), p),
    "cmyk.tif": lambda p: write(rgb().convert("CMYK"), p),
    "lab.tif": lambda p: write(Image.fromarray(colourful(), "LAB"), p),
    "rgb.jp2": lambda p: write(rgb(), p),
    "rgb.ppm": lambda p: write(rgb(), p),
    "wrong_name.jpg": lambda p: write(rgb(), p, format="PNG"),
    "animated.gif": lambda p: write(rgb(), p, save_all=True, append_images=[rgb(seed=1), rgb(seed=2)]),
    "animated.png": lambda p: write(rgb(), p, save_all=True, append_images=[rgb(seed=1)]),
    "animated.webp": lambda p: write(rgb(), p, save_all=True, append_images=[rgb(seed=1)]),
    "smallest.png": lambda p: write(rgb(16, 16), p),
    "longest.png": lambda p: write(rgb(16_384, 16), p),
}


def assert_same_picture(found: Image.Image, expected: Image.Image) -> None:
    assert found.mode == expected.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("name", SANE)
def test_sane_pictures_equal_upstreams(tmp_path: Path, name: str) -> None:
    path = SANE[name](tmp_path / name)
    expected = upstream_load_image(str(path))
    assert_same_picture(load_image(path), expected)
    assert_same_picture(load_image(str(path)), expected)
    assert np.asarray(expected).std() > 5


def test_only_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    path = SANE["animated.png"](tmp_path / "animated.png")
    assert_same_picture(load_image(path), rgb())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied_as_upstream_does(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(rgb(48, 32), tmp_path / f"x.{suffix}", exif=exif)
    found = load_image(path)
    assert found.size == ((32, 48) if orientation >= 5 else (48, 32))
    assert_same_picture(found, upstream_load_image(str(path)))


def test_a_picture_in_memory_equals_upstreams() -> None:
    for image in (rgb(), rgba(), palette(True), rgb().convert("CMYK")):
        assert_same_picture(load_image(image), upstream_load_image(image))


def test_loading_does_not_change_the_callers_picture() -> None:
    image = rgb()
    loaded = load_image(image)
    loaded.putpixel((0, 0), (1, 2, 3))
    assert_same_picture(image, rgb())


def grey16() -> np.ndarray:
    return (colourful()[..., 0].clip(1).astype(np.uint16) << 8) + 37


@pytest.mark.parametrize("name", ["x.png", "x.tif", "big_endian.tif"])
def test_16_bit_grey_keeps_its_upper_byte_where_upstream_clips_to_white(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(grey16().astype(">u2" if "big" in name else "<u2"))
    assert image.mode.startswith("I;16")
    path = write(image, tmp_path / name)
    found = np.asarray(load_image(path))
    np.testing.assert_array_equal(found, np.repeat((grey16() >> 8)[..., None], 3, axis=2))
    assert np.asarray(upstream_load_image(str(path))).min() == 255


def png16_rgb(path: Path) -> Path:
    """A 16-bit RGB PNG: PIL cannot write one, so its chunks are written here."""
    values = (colourful().astype(">u2") << 8) + 200
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_16_bit_colour_equals_upstreams_upper_byte(tmp_path: Path) -> None:
    path = png16_rgb(tmp_path / "x.png")
    assert_same_picture(load_image(path), upstream_load_image(str(path)))
    np.testing.assert_array_equal(np.asarray(load_image(path)), colourful())


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, mode: str) -> None:
    path = write(rgb().convert("L").convert(mode), tmp_path / "x.tif")
    with pytest.raises(ImageError, match=rf"x\.tif: 32-bit pixels \(mode {mode}\)"):
        load_image(path)


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15), (20_000, 16), (16, 20_000), (16_385, 16)])
def test_sizes_out_of_range_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write(Image.new("RGB", size), tmp_path / "x.png")
    with pytest.raises(ImageError, match=rf"x\.png: {size[0]}x{size[1]} px is too (small|large); sides from 16"):
        load_image(path)
    with pytest.raises(ImageError, match="picture: "):
        load_image(Image.new("RGB", size))


@pytest.mark.parametrize("side", [13_378, 16_384, 20_000, 60_000])
def test_decompression_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + bytes(8))
    with pytest.raises(ImageError, match=r"too (many pixels|large); sides from 16 to 16,384 px"):
        load_image(path)


NOT_PICTURES = {
    "empty.png": b"",
    "text.png": b"this is no picture",
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n",
    "vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
    "page.pdf": b"%PDF-1.7\n",
    "zeros.jpg": bytes(5000),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(NOT_PICTURES[name])
    with pytest.raises(ImageError, match=rf"{name}: not a picture that can be read; supported: PNG, JPEG"):
        load_image(tmp_path / name)


def test_missing_files_folders_and_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="on this machine"):
        load_image("https://example.org/cat.png")
    with pytest.raises(ImageError, match="picture"):
        load_image("x" * 5000)


@pytest.mark.parametrize("source", [None, 5, b"bytes", np.zeros((32, 32, 3), np.uint8)])
def test_other_kinds_of_source_are_refused(source: object) -> None:
    with pytest.raises(ImageError, match=rf"found {type(source).__name__}; give a file"):
        load_image(source)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    names = ["rgb.png", "rgb.jpg", "rgb.webp", "palette.gif", "cmyk.tif", "rgb.bmp", "rgb.jp2", "rgb.avif", "rgb.ppm"]
    return {name: SANE[name](folder / name).read_bytes() for name in names} | {"": os.fsencode(folder)}


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "rgb.webp", "rgb.bmp", "cmyk.tif", "rgb.jp2", "rgb.ppm"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_truncated_pictures_are_refused(samples: dict[str, bytes], tmp_path: Path, name: str, part: float) -> None:
    whole = samples[name]
    (tmp_path / name).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ImageError, match=rf"{name}: (damaged or truncated|not a picture)"):
        load_image(tmp_path / name)


@given(data=st.data())
@settings(max_examples=300)
def test_damaged_pictures_are_read_or_refused_never_worse(samples: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([key for key in samples if key]))
    damaged = bytearray(samples[name])
    for at in data.draw(st.lists(st.integers(0, min(len(damaged), 600) - 1), min_size=1, max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = Path(os.fsdecode(samples[""])) / f"damaged-{name}"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        image = load_image(path)
    except ImageError:
        return
    assert image.mode == "RGB" and min(image.size) >= 16


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"garbage", b"Exif\0\0"])
def test_a_damaged_orientation_is_ignored_as_upstream_does(tmp_path: Path, exif: bytes) -> None:
    path = write(rgb(), tmp_path / "x.jpg", exif=exif)
    assert_same_picture(load_image(path), upstream_load_image(str(path)))


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
def test_other_sizes_are_refused_with_usable_suggestions(width: int, height: int) -> None:
    try:
        check_size(width, height, 32)
    except ConfigError as refusal:
        assert width % 32 or height % 32 or width <= 0 or height <= 0
        for suggestion in str(refusal).split("nearest: ")[1].split(" or "):
            check_size(*parse_size(suggestion), 32)
            assert all(
                abs(a - b) < 32 for a, b in zip(parse_size(suggestion), (max(width, 1), max(height, 1)), strict=True)
            )
    else:
        assert width > 0 and height > 0 and width % 32 == height % 32 == 0


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
