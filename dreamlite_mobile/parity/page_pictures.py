"""Pictures in a page without outside references: groups of them side by side, each embedded."""

import base64
from dataclasses import dataclass
from html import escape

from PIL import Image

from dreamlite_mobile.images import png_bytes

_SMALL_PICTURE = 230
"""Pixels of width below which a picture is enlarged with visible pixels instead of smoothed."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture with a short label and an optional second line; a wide one has a row of its own."""

    label: str
    image: Image.Image
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class PictureGroup:
    """Pictures to be seen side by side, under what was asked for."""

    title: str
    text: str
    pictures: tuple[Picture, ...]


def picture_group(group: PictureGroup) -> str:
    """A card with a figure for each picture, which is embedded; every text is escaped."""
    figures = "".join(map(_figure, group.pictures))
    return (
        f'<div class="card"><h3>{escape(group.title)}</h3><p class="soft">{escape(group.text)}</p>'
        f'<div class="pictures">{figures}</div></div>\n'
    )


def _figure(picture: Picture) -> str:
    width, height = picture.image.size
    kind = ' class="small"' if width < _SMALL_PICTURE else ""
    place = " class=wide" if picture.wide else ""
    caption = f"<span>{escape(picture.caption)}</span>" if picture.caption else ""
    return (
        f'<figure{place}><img{kind} src="{_data_url(picture.image)}" width="{width}" height="{height}" '
        f'alt="{escape(picture.label)}"><figcaption>{escape(picture.label)}{caption}</figcaption></figure>'
    )


def _data_url(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode('ascii')}"
