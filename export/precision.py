"""Which precision each component gets.

A preset names one for every component: `fp32`; `fp16`; `w8` (int8 weights per channel; XNNPACK: with dynamic int8
activations, in linear layers); `w4` (the text tower with 4-bit weights in groups of 32, everything else as in `w8`);
`w8a16` (HTP: int8 weights per channel, 16-bit ones where those are not enough, and 16-bit activations); `w4a16` (HTP:
the same with a text tower of 4-bit weights, 8-bit ones where a layer needs them); `w8a8mix` (HTP: besides, 8-bit
activations in all other components' layers that bear them); `p6` and `p4`
(Core ML: text tower and U-Net with palettes of 64 and 16 weights, the vision tower as in `w8`). What a preset leaves
out stays as the backend has it first.
`component=precision` pairs, separated by commas, override a preset given first: `w8,unet=fp32`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from dreamlite_mobile.bundle_fields import Precision
from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.errors import ConfigError, unknown_name

LINEAR = ("text_encoder", "vision_encoder", "unet")
"""Components whose weights are mostly linear layers."""
INTEGERS = COMPONENTS
"""Components that the HTP computes in integers within their floors (benchmarks/htp.md)."""

PRESETS: Mapping[str, Mapping[str, str]] = {
    "fp32": dict.fromkeys(COMPONENTS, "fp32"),
    "fp16": dict.fromkeys(COMPONENTS, "fp16"),
    "w8a16": dict.fromkeys(INTEGERS, "w8a16"),
    "w4a16": {**dict.fromkeys(INTEGERS, "w8a16"), "text_encoder": "w4a16"},
    "w8a8mix": {**dict.fromkeys(INTEGERS, "w8a8mix"), "text_encoder": "w4a16"},
    "w8": dict.fromkeys(LINEAR, "w8"),
    "w4": {**dict.fromkeys(LINEAR, "w8"), "text_encoder": "w4"},
    "p6": {"text_encoder": "p6", "vision_encoder": "w8", "unet": "p6"},
    "p4": {"text_encoder": "p4", "vision_encoder": "w8", "unet": "p4"},
}


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of a precision of the HTP's integers: of most layers, and of those that need more (16: as they are).

    `enough_db`: what weights alone must keep of a component's outputs on calibration runs. `short_db`: what is kept
    where layers that bear 8-bit activations have them; None for 16 bits everywhere.
    """

    few: int
    more: int
    enough_db: float
    short_db: float | None = None


WIDTHS = {
    "w8a16": Widths(8, 16, enough_db=40.0),
    "w4a16": Widths(4, 8, enough_db=27.0),
    "w8a8mix": Widths(8, 16, enough_db=40.0, short_db=33.0),
}
"""`enough_db` of w8a16 is 5 dB over its floor, for activations cost something, and runs that calibration did not see
lose more."""


def component_precisions(
    wanted: str | None, components: Iterable[str], supported: Mapping[str, tuple[str, ...]]
) -> dict[str, Precision]:
    """Component -> precision.

    Args:
        wanted: a preset, `component=precision` pairs, or a preset followed by pairs. What they leave open is the
            backend's first.
        components: those that are exported.
        supported: what the backend can do, by component, its usual one first.

    Raises:
        ConfigError: an unknown preset, component or precision, or one the backend does not support there.
    """
    names = list(components)
    chosen = {name: supported[name][0] for name in names}
    pairs = [] if wanted is None else [part.strip() for part in wanted.split(",")]
    if pairs and "=" not in pairs[0]:
        preset = pairs.pop(0)
        if preset not in PRESETS:
            raise ConfigError(f"--precision: {unknown_name('preset', preset, PRESETS)}")
        chosen |= {name: precision for name, precision in PRESETS[preset].items() if name in chosen}
    for pair in pairs:
        name, equals, precision = pair.partition("=")
        if not equals:
            raise ConfigError(f"--precision: found {pair!r} after the preset; expected component=precision")
        if name not in COMPONENTS:
            raise ConfigError(f"--precision: {unknown_name('component', name, COMPONENTS)}")
        if name not in names:
            raise ConfigError(f"--precision: {name} is not among the components exported ({', '.join(names)})")
        chosen[name] = precision
    for name, precision in chosen.items():
        if precision not in supported[name]:
            raise ConfigError(
                f"--precision: {name} cannot be {precision!r} with this backend; "
                f"supported: {', '.join(supported[name])}"
            )
    return cast("dict[str, Precision]", chosen)
