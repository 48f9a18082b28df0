"""Pictures in and out: source pictures, sizes, arrays for the networks, PNG files. numpy and PIL only.

The conversions equal diffusers' `load_image`, `VaeImageProcessor(vae_scale_factor=16)` and transformers'
`Qwen2VLImageProcessor` bit for bit, except where upstream would quietly spoil the picture (see `load_image`).
"""

import os
import re
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from dreamlite_mobile.config import VisionConfig
from dreamlite_mobile.errors import ConfigError, DreamLiteError, ImageError, OutputError
from dreamlite_mobile.files import write_atomic

Float32 = NDArray[np.float32]

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
"""What is read. PIL knows more, among them formats that run other programs (EPS)."""
MIN_SIDE = 16
MAX_SIDE = 16_384
MAX_PIXELS = 178_956_970
"""PIL's own limit against decompression bombs, stated here so that a changed PIL setting does not move it."""
MAX_OUTPUT_SIDE = 2048
"""Of a picture to make: twice what the model was trained at; beyond it, attention alone needs tens of gigabytes."""

_UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What PIL's decoders raise on damaged files."""


def load_image(source: str | Path | Image.Image) -> Image.Image:
    """A source picture as RGB, upright: equal to diffusers' `load_image(source)` for every sane picture.

    EXIF orientation is applied; transparency is dropped, not blended; palette, grey, 1-bit, CMYK pictures are
    converted by PIL; of an animation the first frame is taken. 16-bit grey keeps its upper 8 bits, as PIL reads 16-bit
    RGB: upstream would clip it to white from 1/256 of full brightness on.

    Raises:
        ImageError: missing, unreadable, truncated or unknown file; a side under 16 or over 16,384 px or more than
            178,956,970 px in all; 32-bit integer or float pixels, whose brightness range nobody states.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(source, Image.Image):
            return _upright_rgb(source, "picture")
        if not isinstance(source, str | Path):
            raise ImageError(f"picture: found {type(source).__name__}; give a file or a PIL image")
        with _open(Path(source), f"picture {source}") as opened:
            return _upright_rgb(opened, f"picture {source}")


def _open(path: Path, name: str) -> Image.Image:
    """Read the header only: the size is judged before a pixel is decoded."""
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no such file"
            raise ImageError(f"{name}: {found}; give a picture file on this machine (PNG, JPEG, WebP, ...)")
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too many pixels; {_size_limits()}; make it smaller first") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not a picture that can be read; supported: {', '.join(FORMATS)}; convert it to PNG or JPEG"
        ) from error
    except _UNREADABLE as error:
        raise _damaged(name, error) from error


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    _check_source_size(image, name)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: 32-bit pixels (mode {image.mode}) of unknown brightness range; save it as 8- or 16-bit PNG"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = _upper_byte(upright)
        return upright.convert("RGB")
    except _UNREADABLE as error:
        raise _damaged(name, error) from error


def _upper_byte(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _check_source_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width}x{height} px is too small; {_size_limits()}; give a larger picture")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} px is too large; {_size_limits()}; make it smaller first")


def _size_limits() -> str:
    return f"sides from {MIN_SIDE} to {MAX_SIDE:,} px and at most {MAX_PIXELS:,} px in all are supported"


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: damaged or truncated ({error}); save the picture again, as PNG or JPEG")


def condition_image(image: Image.Image, width: int, height: int) -> Float32:
    """The source picture for the VAE encoder: float32 [1, 3, height, width] in [-1, 1], resized with LANCZOS.

    Mirrors `VaeImageProcessor(vae_scale_factor=16).preprocess(image, height, width)`; `image` is RGB.
    """
    return _channels_first(_resized(image, width, height)) / np.float32(255) * np.float32(2) - np.float32(1)


def vision_patches(image: Image.Image, cfg: VisionConfig) -> Float32:
    """The source picture for the vision tower: float32 [num_patches, 3 * patch * patch], normalised.

    Resized to `cfg.image_size` squared with LANCZOS. Patches come in merge order: [grid/m, grid/m, m, m], each
    [channel, row, column]. Mirrors `VaeImageProcessor.resize` followed by `Qwen2VLImageProcessor`, whose
    `pixel_values` repeat every patch for each frame of time; here one frame is kept and the weights are summed.
    """
    pixels = _channels_first(_resized(image, cfg.image_size, cfg.image_size))[0]
    mean, std = (
        np.array(values, np.float32)[:, None, None] * np.float32(255) for values in (cfg.image_mean, cfg.image_std)
    )
    merge, patch = cfg.spatial_merge_size, cfg.patch_size
    blocks = cfg.grid // merge
    tiles = ((pixels - mean) / std).reshape(cfg.in_channels, blocks, merge, patch, blocks, merge, patch)
    return np.ascontiguousarray(tiles.transpose(1, 4, 2, 5, 0, 3, 6)).reshape(cfg.num_patches, cfg.patch_dim)


def to_picture(image: Float32) -> Image.Image:
    """What the VAE decoder gives, float32 [1, 3, H, W] in about [-1, 1], as an RGB picture; values outside are clipped.

    Mirrors `VaeImageProcessor.postprocess(image, output_type="pil")`.

    Raises:
        DreamLiteError: another shape, or NaN or infinity inside.
    """
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise DreamLiteError(f"decoded picture: found shape {image.shape}; [1, 3, H, W] is expected")
    if not np.isfinite(image).all():
        raise DreamLiteError("decoded picture: NaN or infinity inside; check the component with `dreamlite parity`")
    unit = np.clip(image[0].astype(np.float32, copy=False) * np.float32(0.5) + np.float32(0.5), 0, 1)
    return Image.fromarray((unit.transpose(1, 2, 0) * np.float32(255)).round().astype(np.uint8))


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.mode != "RGB":
        raise ImageError(f"picture: found mode {image.mode}; RGB is needed, pass it through load_image first")
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _channels_first(image: Image.Image) -> Float32:
    return np.ascontiguousarray(np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None])


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from "1024" (a square) or "768x1024" (width first); ConfigError for anything else."""
    found = re.fullmatch(r"\s*([0-9]{1,6})(?:\s*[xX\u00d7]\s*([0-9]{1,6}))?\s*", text)
    if found is None:
        raise ConfigError(f"size {text!r}: not a size; write pixels as 1024 or WIDTHxHEIGHT, e.g. 768x1024")
    return int(found[1]), int(found[2] or found[1])


def check_size(width: int, height: int, multiple: int) -> None:
    """Refuse sides that are not multiples of `multiple`, below it or over `MAX_OUTPUT_SIDE`; names the nearest sizes.

    Raises:
        ConfigError: as above.
    """
    most = MAX_OUTPUT_SIDE // multiple * multiple
    if max(width, height) > most:
        nearest_size = "x".join(str(min(most, max(multiple, side // multiple * multiple))) for side in (width, height))
        raise ConfigError(
            f"size {width}x{height}: at most {most} pixels a side are supported (the model was trained at 1024); "
            f"nearest: {nearest_size}"
        )
    if all(side > 0 and side % multiple == 0 for side in (width, height)):
        return
    below = tuple(max(multiple, side // multiple * multiple) for side in (width, height))
    above = tuple(max(multiple, -(-side // multiple) * multiple) for side in (width, height))
    nearest = dict.fromkeys(f"{w}x{h}" for w, h in (below, above))
    raise ConfigError(
        f"size {width}x{height}: width and height must be multiples of {multiple}; nearest: {' or '.join(nearest)}"
    )


def nearest_shape(sizes: Sequence[tuple[int, int]], width: int, height: int) -> tuple[int, int]:
    """The size whose ratio of width to height is nearest to a picture's; the earlier one of two equally near."""
    shape = Fraction(width, height)
    return min(sizes, key=lambda size: max(Fraction(*size) / shape, shape / Fraction(*size)))


def save_png(image: Image.Image, path: str | Path, text: Mapping[str, str]) -> None:
    """Write `image` as PNG with `text` in its text chunks: complete and flushed, or not at all.

    Values that are Latin-1 go into tEXt chunks, others into iTXt (UTF-8); NUL, which PNG forbids, becomes U+FFFD.
    A refused or interrupted write leaves nothing behind, and what was there before as it was.

    Raises:
        OutputError: the place cannot be written, is full, is a folder or a device, or does not end in .png.
    """
    target = Path(path)
    check_output(target)
    chunks = PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value.replace("\0", "\ufffd"))
    write_atomic(target, png_bytes(image, chunks))


def png_bytes(image: Image.Image, chunks: PngInfo | None = None) -> bytes:
    """The picture as a PNG, with text chunks if there are any."""
    encoded = BytesIO()
    image.save(encoded, format="PNG", pnginfo=chunks)
    return encoded.getvalue()


def check_output(target: Path) -> None:
    """Refuse a place that `save_png` could not write, before the work of making a picture (OutputError)."""
    try:
        _check_target(target)
        if not target.parent.is_dir():
            raise OutputError(f"output {target}: the folder {target.parent} does not exist; create it first")
        if not os.access(target.parent, os.W_OK):
            raise OutputError(f"output {target}: the folder {target.parent} cannot be written; choose another place")
    except OSError as error:
        raise OutputError(f"output {target}: cannot be written ({error.strerror}); choose another place") from error


def _check_target(target: Path) -> None:
    if target.suffix.lower() != ".png":
        raise OutputError(f"output {target}: pictures are written as PNG; end the name in .png")
    if target.exists() and not target.is_file():
        raise OutputError(f"output {target}: is a folder or a device; name a file")
