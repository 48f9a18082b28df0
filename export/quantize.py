"""Quantised linear layers: 8-bit activations, measured while running, and weights of 8 or 4 bits.

Networks are quantised in place, once, before they are exported, so that every method of a component uses the same
quantised tensors and its file holds them once. Convolutions stay in fp32, also those that a form writes as matrix
products, and so do the averages inside norms, which are matrix products too (`networks.layers.Averaging`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dreamlite_mobile.checkpoint import Filled
from dreamlite_mobile.errors import ExportError, unknown_name
from dreamlite_mobile.networks.form import Foldable
from dreamlite_mobile.networks.resample import Differences, Taps
from dreamlite_mobile.networks.vision import PatchEmbed
from export.precision import LINEAR


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a weight is stored: `bits` per value, one scale per output channel and, if set, per `group` of inputs.

    `components` lists where the scheme may be used.
    """

    bits: int
    components: tuple[str, ...]
    group: int | None = None

    @property
    def description(self) -> str:
        return f"int{self.bits} per {'channel' if self.group is None else f'group of {self.group}'}"


SCHEMES: Mapping[str, Scheme] = {
    "w8": Scheme(bits=8, components=LINEAR),
    "w4": Scheme(bits=4, components=("text_encoder",), group=32),
}
"""Every precision but fp32. Activations are 8-bit with a scale and a zero point per row."""


CONVOLUTIONS = (Differences, Taps, PatchEmbed)
"""Convolutions written as matrix products. In 8 bits they would cost the tiny U-Net 1.2 dB and the vision tower 1.4,
and save less than a tenth of the time they take (benchmarks/quantisation.md)."""


def quantise(modules: Mapping[str, nn.Module], component: str, precision: str) -> dict[str, str]:
    """Quantise a component's methods in place; layers that several methods share are quantised once.

    Returns:
        Layer name, relative to its method's module -> how its weight is stored; empty for `fp32`.

    Raises:
        ExportError: an unknown precision, one the component cannot take, or as `quantize` does.
    """
    if precision == "fp32":
        return {}
    check_supported(component, precision)
    stored: dict[str, str] = {}
    for module in modules.values():
        stored |= quantize(module, precision)
    if not stored:
        raise ExportError(f"{component} cannot be {precision!r}: it has no linear layers; use fp32")
    return stored


def quantize(module: nn.Module, precision: str) -> dict[str, str]:
    """Quantise every linear layer of one module in place; those already quantised this way are left alone.

    Layers whose inputs cannot be cut into the precision's groups get 8 bits per channel.

    Returns:
        Layer name -> how its weight is stored; empty for `fp32`.

    Raises:
        ExportError: an unknown precision, a weight that is not finite, or one already quantised in another way.
    """
    if precision == "fp32":
        return {}
    stored = {}
    for name, linear in model_linears(module):
        scheme = fitting_scheme(linear, precision)
        quantize_linear(linear, scheme, name)
        stored[name] = scheme.description
    return stored


def fitting_scheme(linear: nn.Linear, precision: str) -> Scheme:
    """The scheme of a precision, or `w8`'s where a layer's inputs cannot be cut into its groups."""
    scheme = scheme_of(precision)
    return scheme if scheme.group is None or linear.in_features % scheme.group == 0 else SCHEMES["w8"]


def quantiser(component: str, precision: str) -> Callable[[nn.Module], Filled]:
    """For a network that is still to be filled: quantises each linear layer as soon as its weights are there.

    The layer's fp32 weight is then gone before the next one is read. Layers that a form derives other kernels from are
    left alone, to be quantised when those are there.

    Raises:
        ExportError: as `quantise` does.
    """
    if precision != "fp32":
        check_supported(component, precision)

    def prepare(network: nn.Module) -> Filled:
        settled = set() if precision == "fp32" else settled_linears(network)

        def filled(name: str, module: nn.Module) -> None:
            if name in settled and isinstance(module, nn.Linear):
                quantize_linear(module, fitting_scheme(module, precision), name)

        return filled

    return prepare


def settled_linears(network: nn.Module) -> set[str]:
    """The linear layers that `fold` will not touch: those below no module that derives something."""
    folding = [name for name, module in network.named_modules() if isinstance(module, Foldable)]
    return {
        name for name, _ in model_linears(network) if not any(not one or name.startswith(f"{one}.") for one in folding)
    }


def scheme_of(precision: str) -> Scheme:
    """The scheme of a precision; ExportError listing the known ones otherwise."""
    if precision not in SCHEMES:
        raise ExportError(unknown_name("precision", precision, ("fp32", *SCHEMES)))
    return SCHEMES[precision]


def check_supported(component: str, precision: str) -> None:
    """ExportError for a precision that the component cannot take."""
    scheme = scheme_of(precision)
    if component not in scheme.components:
        raise ExportError(
            f"{component} cannot be {precision!r}, which is for {', '.join(scheme.components)}; "
            f"supported: {', '.join(supported(component))}"
        )


def supported(component: str) -> tuple[str, ...]:
    """The precisions a component can take, the closest first."""
    return ("fp32", *(name for name, scheme in SCHEMES.items() if component in scheme.components))


def model_linears(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Linear]]:
    """Name and layer of every linear of the published model; `Averaging` and other subclasses are none."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            yield prefix + name, child
        elif not isinstance(child, CONVOLUTIONS):
            yield from model_linears(child, f"{prefix}{name}.")


def quantize_linear(linear: nn.Linear, scheme: Scheme, name: str) -> None:
    """Replace the weight of one layer by a quantised one, unless it is one of the same scheme."""
    # Imported here: torchao takes seconds to import and writes to stderr.
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxUnpackedToInt8Tensor, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup

    dtype = getattr(torch, f"int{scheme.bits}")
    weight = linear.weight
    if isinstance(weight, IntxUnpackedToInt8Tensor):
        if (weight.target_dtype, weight.block_size[1]) != (dtype, scheme.group or linear.in_features):
            raise ExportError(
                f"{name} is already quantised ({weight.target_dtype}, blocks of {weight.block_size[1]} inputs) and "
                f"cannot become {scheme.description}; load the checkpoint again"
            )
        return
    if not torch.isfinite(weight).all():
        raise ExportError(f"{name} cannot be quantised: its weight has values that are not finite")
    granularity = PerAxis(0) if scheme.group is None else PerGroup(scheme.group)
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=dtype, weight_granularity=granularity)
    quantize_(linear, config, filter_fn=lambda layer, _: layer is linear)
