"""Source pictures. Oracle: diffusers' load_image."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diffusers.utils import load_image as upstream_load_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_pictures import assert_same_picture, colourful, rgb

from dreamlite_mobile.errors import ImageError
from dreamlite_mobile.images import load_image


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
