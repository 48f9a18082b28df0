"""How evaluated Core ML packages round their activations."""

from typing import Literal, cast, get_args

from dreamlite_mobile.errors import ConfigError, unknown_name

Rounding = Literal["fp16", "fp32"]
"""`fp16`: to what the program declares, after every operator. `fp32`: not at all."""


def check_rounding(text: str) -> Rounding:
    """A rounding by its name; ConfigError listing the known ones otherwise."""
    if text not in get_args(Rounding):
        raise ConfigError(f"--rounding: {unknown_name('rounding', text, get_args(Rounding))}")
    return cast("Rounding", text)
