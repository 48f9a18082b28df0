"""Which precision each component gets.

A preset names one for every component: `fp32`; `w8` (dynamic int8 activations, int8 weights per channel, in linear
layers); `w4` (the text tower with 4-bit weights in groups of 32, everything else as in `w8`). The autoencoder is
all convolutions, which stay in fp32. `component=precision` pairs, separated by commas, override a preset given first:
`w8,unet=fp32`.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from dreamlite_mobile.bundle_schema import Precision
from dreamlite_mobile.components import COMPONENTS
from dreamlite_mobile.errors import ConfigError, unknown_name

LINEAR = ("text_encoder", "vision_encoder", "unet")
"""Components whose weights are mostly linear layers."""

PRESETS: Mapping[str, Mapping[str, str]] = {
    "fp32": {},
    "w8": dict.fromkeys(LINEAR, "w8"),
    "w4": {**dict.fromkeys(LINEAR, "w8"), "text_encoder": "w4"},
}


def component_precisions(
    wanted: str, components: Iterable[str], supported: Mapping[str, tuple[str, ...]]
) -> dict[str, Precision]:
    """Component -> precision.

    Args:
        wanted: a preset, `component=precision` pairs, or a preset followed by pairs.
        components: those that are exported.
        supported: what the backend can do, by component.

    Raises:
        ConfigError: an unknown preset, component or precision, or one the backend does not support there.
    """
    head, *rest = [part.strip() for part in wanted.split(",")]
    preset, pairs = ("fp32", [head, *rest]) if "=" in head else (head, rest)
    if preset not in PRESETS:
        raise ConfigError(f"--precision: {unknown_name('preset', preset, PRESETS)}")
    names = list(components)
    chosen = {name: PRESETS[preset].get(name, "fp32") for name in names}
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
