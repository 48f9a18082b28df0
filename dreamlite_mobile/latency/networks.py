"""The work of DreamLite's own networks, from a configuration and a picture size alone."""

from dataclasses import replace

import torch

from dreamlite_mobile.assembly import text_encoder, text_layout
from dreamlite_mobile.components import MODES, Geometry, component_specs
from dreamlite_mobile.latency.work import Work, count, fake_tensors
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import HTP, Form
from dreamlite_mobile.networks.text import TextTower

WHOLE = replace(HTP, name="htp, not tiled", row_tiles=())
"""The HTP's form without its tiles: the same arithmetic in far fewer operators, which is ten times quicker to count.
Where the compiler has counted the bytes, tiles make no difference."""


def method_work(geometry: Geometry, component: str, method: str, form: Form = HTP) -> Work:
    """The work of one call of a component's method, in the form that the HTP gets."""
    spec = component_specs(geometry, [method] if method in MODES else MODES, [component])[component]
    with fake_tensors():
        network = build(component, geometry.config, form)
        empty = {key: torch.empty(tensor.shape) for key, tensor in network.state_dict().items()}
        network.load_state_dict(empty, assign=True)
        module = fold(network)
        if isinstance(module, TextTower):
            module = text_encoder(module, text_layout(geometry, method))
        inputs = [torch.empty(one.shape) for one in spec.methods[method].inputs]
        return count(module, lambda: module(*inputs))
