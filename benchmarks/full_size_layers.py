"""A checkpoint whose text tower has the published width and as many layers as asked for; everything else is tiny.

    .venv/bin/python -m benchmarks.full_size_layers 2 two
    .venv/bin/python -m benchmarks.full_size export two --components text_encoder --precision w4 --size 512

What one more layer costs shows between two of these, in a minute each.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from dreamlite_mobile.config import MOBILE, TINY, DreamLiteConfig
from dreamlite_mobile.synthetic import write_checkpoint


def config_of(layers: int) -> DreamLiteConfig:
    """The tiny configuration with so many layers of the published text tower, and the tiny vocabulary."""
    tiny, width = TINY.text, MOBILE.text.hidden_size
    text = replace(
        MOBILE.text,
        num_layers=layers,
        vocab_size=tiny.vocab_size,
        image_token_id=tiny.image_token_id,
        vision_start_token_id=tiny.vision_start_token_id,
        vision_end_token_id=tiny.vision_end_token_id,
    )
    vision, unet = replace(TINY.vision, out_hidden_size=width), replace(TINY.unet, encoder_hid_dim=width)
    return replace(TINY, text=text, vision=vision, unet=unet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layers", type=int)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    print(write_checkpoint(config_of(given.layers), 0, given.out))


if __name__ == "__main__":
    main()
