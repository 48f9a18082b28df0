"""GELU as the HTP's own operator, in integers, where fp16 needs its primitives. Oracle: the block in torch fp32."""

import pytest
from qnn_runs import said

pytestmark = pytest.mark.qnn
FLOOR_DB = 35.0

GEGLU = """
import json
from export.qnn_sdk import ready
ready()
import torch
from qnn_norms import decibels
from dreamlite_mobile.networks.form import fold, form_of
from dreamlite_mobile.networks.layers import GeGlu
from dreamlite_mobile.synthetic import named_config
from export.qnn_plan import layers_of

torch.manual_seed(0)
cfg = named_config("tiny").unet
width = cfg.block_out_channels[-1]
block = GeGlu(width, cfg.ff_mult, form_of("qnn", "w8a16"))
for weight in block.parameters():
    torch.nn.init.normal_(weight, 0.0, 0.2 if weight.ndim > 1 else 0.1)
block = fold(block)
calls = [(torch.randn(1, 128, width),) for _ in range(4)]
operators = {str(node.target) for node in torch.export.export(block, calls[0]).graph.nodes}
narrow = tuple(layers_of({"forward": block}))
found = {bits: decibels(block, calls, layers) for bits, layers in ((8, narrow), (16, ()))}
print("SAID" + json.dumps({"operators": sorted(operators), "narrow": narrow, "db": found}), flush=True)
"""


def test_geglu_keeps_its_floor_in_integers_with_gelu_as_operator() -> None:
    """With 16-bit weights it is better than what the operator does in fp16 (2e-3 to 5e-3: 54 to 46 dB)."""
    found = said(GEGLU)
    assert "aten.gelu.default" in found["operators"] and "aten.tanh.default" not in found["operators"]
    assert sorted(found["narrow"]) == ["gate", "out", "value"]
    assert found["db"]["8"] >= FLOOR_DB and found["db"]["16"] >= 56, found["db"]
