"""The work of DreamLite's own networks, from a configuration and a picture size alone."""

from dataclasses import replace

import torch
from torch import nn

from dreamlite_mobile.assembly import text_encoder, text_layout
from dreamlite_mobile.components import MODES, Geometry, component_specs
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.latency.work import Work, count, fake_tensors
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import Form
from dreamlite_mobile.networks.text import TextTower


def untiled(form: Form) -> Form:
    """A form without its tiles: the same arithmetic in far fewer operators, which is ten times quicker to count.

    Where the compiler has counted the bytes, tiles make no difference.
    """
    return replace(form, name=f"{form.name}, not tiled", row_tiles=())


def method_work(geometry: Geometry, component: str, method: str, form: Form) -> Work:
    """The work of one call of a component's method in a form.

    Raises:
        ConfigError: a configuration whose network cannot run.
    """
    spec = component_specs(geometry, [method] if method in MODES else MODES, [component])[component]
    try:
        with fake_tensors():
            module = network(geometry, component, method, form)
            inputs = [torch.empty(one.shape) for one in spec.methods[method].inputs]
            return count(module, lambda: module(*inputs))
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{component}: its configuration describes no network that runs: {error}") from error


def network(geometry: Geometry, component: str, method: str, form: Form) -> nn.Module:
    """A network without values."""
    built = build(component, geometry.config, form)
    empty = {key: torch.empty(tensor.shape) for key, tensor in built.state_dict().items()}
    built.load_state_dict(empty, assign=True)
    module = fold(built)
    return text_encoder(module, text_layout(geometry, method)) if isinstance(module, TextTower) else module
