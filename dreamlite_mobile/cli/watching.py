"""What the numbers watch knows of a bundle beforehand: its weight codes, and the ranges of its integer activations."""

import json
from typing import Any

from torch import nn

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry as bundle_geometry
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.components import component_specs
from dreamlite_mobile.networks.form import REFERENCE, Form, form_of
from dreamlite_mobile.parity.blocks import layer_names
from dreamlite_mobile.parity.numbers import (
    Clipped,
    Place,
    Span,
    Watch,
    package_layers,
    quantised_layers,
    spans_of,
    symmetric_ends,
)
from dreamlite_mobile.runtime.mil.program import read_program
from dreamlite_mobile.runtime.session import prompt_encoder

Codes = dict[str, dict[str, Clipped]]
"""Component -> layer -> its weight codes."""


def watch_of(bundle: Bundle, checkpoint: Checkpoint) -> Watch:
    """A watch that has counted nothing yet. Codes are read from a Core ML bundle's packages; other programs cannot be
    opened so far, and theirs are made again."""
    if bundle.manifest.backend == "coreml":
        return Watch({name: packaged_weights(bundle, name) for name in bundle.manifest.components})
    if bundle.manifest.backend == "xnnpack":
        return Watch(quantised_weights(bundle, checkpoint))
    if bundle.manifest.backend == "qnn":
        return Watch(*fixed_ranges(bundle, checkpoint), divided_layers(bundle))
    return Watch()


def packaged_weights(bundle: Bundle, component: str) -> dict[str, Clipped]:
    """Layer -> its 8-bit weight codes, as the component's packages hold them; empty for other precisions."""
    methods = bundle.component(component).methods.values()
    files = dict.fromkeys(file for method in methods for file in (method.file, *method.then))
    names = layer_names(component, bundle.manifest.checkpoint.dreamlite_config)
    return package_layers((read_program(bundle.file(file)) for file in files), names)


def quantised_weights(bundle: Bundle, checkpoint: Checkpoint) -> Codes:
    """The codes of components whose activations are measured while running."""
    from export.quantize import SCHEMES

    return {
        name: quantised_layers(name, written_methods(bundle, checkpoint, name), entry.precision)
        for name, entry in bundle.manifest.components.items()
        if entry.precision in SCHEMES
    }


def fixed_ranges(bundle: Bundle, checkpoint: Checkpoint) -> tuple[Codes, dict[Place, Span]]:
    """The codes of components in integers, and what their activations can stand for: from the bundle's plans and the
    calibration that the manifest tells of, run again."""
    manifest = bundle.manifest
    calibration = None if manifest.htp is None else manifest.htp.calibration
    narrow = [name for name, entry in manifest.components.items() if entry.precision != "fp16"]
    codes: Codes = {}
    spans: dict[Place, Span] = {}
    if calibration is None or not narrow:
        return codes, spans
    from export.calibration import trajectories
    from export.qnn_plan import on_grid
    from export.qnn_quantize import ROOM

    shape, modes = bundle_geometry(manifest), list(manifest.modes)
    specs = component_specs(shape, modes, narrow)
    known = trajectories(checkpoint, shape, prompt_encoder(bundle), modes, specs, calibration.pictures)
    for name, spec in specs.items():
        calls = known.calls_of(spec)
        ranges = spans_of(name, methods_of(bundle, checkpoint, name, REFERENCE), calls, ROOM)
        plan = plan_of(bundle, name)
        short = {place: (low / ROOM, high / ROOM) for place, (low, high) in ranges.items() if place[2] in plan["short"]}
        spans |= ranges | short
        rounded = on_grid(written_methods(bundle, checkpoint, name), calls, plan["bits"], plan["narrow"])
        codes[name] = {layer: symmetric_ends(weight, plan["bits"]) for layer, weight in rounded.items()}
    return codes, spans


def divided_layers(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Component -> layer -> what its output is divided by, as the plans of fp16 components tell it."""
    from export.htp import plan_file

    return {
        name: plan_of(bundle, name)["divisors"]
        for name, entry in bundle.manifest.components.items()
        if entry.precision == "fp16" and plan_file(name) in bundle.manifest.files
    }


def plan_of(bundle: Bundle, component: str) -> dict[str, Any]:
    """What the bundle tells of a component for the HTP."""
    from export.htp import plan_file

    found: dict[str, Any] = json.loads(bundle.file(plan_file(component)).read_text())
    return found


def written_methods(bundle: Bundle, checkpoint: Checkpoint, component: str) -> dict[str, nn.Module]:
    """A component's networks in the form that the bundle was made of, by method."""
    form = form_of(bundle.manifest.backend, bundle.component(component).precision)
    return methods_of(bundle, checkpoint, component, form)


def methods_of(bundle: Bundle, checkpoint: Checkpoint, component: str, form: Form) -> dict[str, nn.Module]:
    """A component's networks in a form, by method."""
    return component_methods(checkpoint, component, form, bundle_geometry(bundle.manifest), list(bundle.manifest.modes))
