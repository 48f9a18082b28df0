"""Which precision each component gets.

A preset names one for every component: `fp32`; `fp16`; `w8` (int8 weights per channel; XNNPACK: with dynamic int8
activations, in linear layers); `w4` (the text tower with 4-bit weights in groups of 32, everything else as in `w8`);
`w8a16` (HTP: int8 weights per channel, 16-bit ones where those are not enough, and 16-bit activations); `p6` and `p4`
(Core ML: text tower and U-Net with palettes of 64 and 16 weights, the vision tower as in `w8`). What a preset leaves
out stays as the backend has it first.
`component=precision` pairs, separated by commas, override a preset given first: `w8,unet=fp32`.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from dreamlite_mobile.bundle_schema import Precision
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
    "w8": dict.fromkeys(LINEAR, "w8"),
    "w4": {**dict.fromkeys(LINEAR, "w8"), "text_encoder": "w4"},
    "p6": {"text_encoder": "p6", "vision_encoder": "w8", "unet": "p6"},
    "p4": {"text_encoder": "p4", "vision_encoder": "w8", "unet": "p4"},
}


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
