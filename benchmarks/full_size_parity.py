"""Full-width parity of the text tower with little memory: sampled layers, sampled token rows, and the whole tower.

    .venv/bin/python -m benchmarks.full_size_parity full                    # layers 0, 13 and 27; rows in int8
    .venv/bin/python -m benchmarks.full_size_parity full --bundle bundle    # also the bundle's whole tower

The reference is torch in float32, one decoder layer in memory at a time; inputs of a layer are what the reference
hands it for a real prompt.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.assembly import text_layout
from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import Checkpoint, open_checkpoint
from dreamlite_mobile.networks import fold
from dreamlite_mobile.networks.form import REFERENCE, XNNPACK, Form
from dreamlite_mobile.networks.text import DecoderLayer, Rotary, TextLayout, rotary_table
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.runtime.load import load_component
from export.driver import geometry_of, prompt_encoder
from export.embeddings import quantised_rows
from export.quantize import supported
from export.xnnpack import lower

LAYERS = (0, 13, 27)
PROMPT = "a lighthouse on a rock at dusk, waves below, a small boat with a red sail in the distance"
SAMPLED_ROWS = 4096


class Layer(nn.Module):
    """One decoder layer with the tables of a prompt."""

    cos: torch.Tensor
    sin: torch.Tensor
    causal: torch.Tensor

    def __init__(self, checkpoint: Checkpoint, index: int, layout: TextLayout, form: Form) -> None:
        super().__init__()
        with torch.device("meta"):
            holder = nn.ModuleDict({"layers": nn.ModuleDict({str(index): DecoderLayer(checkpoint.config.text, form)})})
        checkpoint.load("text_encoder", holder)
        self.layer = fold(holder["layers"][str(index)])  # type: ignore[index]
        cos, sin = rotary_table(checkpoint.config.text, layout)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("causal", torch.full((1, layout.length, layout.length), -form.mask).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x, Rotary(self.cos, self.sin), self.causal)
        return out


def states(checkpoint: Checkpoint, layout: TextLayout, embeddings: torch.Tensor) -> Iterator[torch.Tensor]:
    """What goes into each layer, and what comes out of the last."""
    x = embeddings
    yield x
    for index in range(checkpoint.config.text.num_layers):
        with torch.inference_mode():
            x = Layer(checkpoint, index, layout, REFERENCE)(x)
        yield x


def layer_snr(checkpoint: Checkpoint, layout: TextLayout, index: int, precision: str, given: torch.Tensor) -> float:
    """SNR in dB of one layer's `.pte` on what the reference hands it."""
    from executorch.runtime import Runtime

    with torch.inference_mode():
        expected = Layer(checkpoint, index, layout, REFERENCE)(given)
    lowered = lower({"forward": (Layer(checkpoint, index, layout, XNNPACK), (given.clone(),))}, precision)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "layer.pte")
        with file.open("wb") as stream:
            lowered.write(stream)
        method = Runtime.get().load_program(file).load_method("forward")
        assert method is not None
        (found,) = method.execute([given])
        return compare(found.numpy(), expected.numpy()).snr_db


def rows_snr(checkpoint: Checkpoint) -> float:
    """SNR in dB of int8 token rows with one scale each, over a sample of the table."""
    rows = checkpoint.embedding_rows()
    count = min(SAMPLED_ROWS, rows.shape[0])
    ids = np.sort(np.random.default_rng(0).choice(rows.shape[0], count, replace=False))
    wanted = rows.lookup(ids.tolist())
    codes, scales = quantised_rows(torch.from_numpy(wanted))
    return compare((codes * scales[:, None]).numpy(), wanted).snr_db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--bundle", type=Path, help="one with the text tower for generate")
    parser.add_argument("--precision", choices=supported("text_encoder"), default="w4")
    given = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = open_checkpoint(given.checkpoint)
    encoder = prompt_encoder(checkpoint)
    layout = text_layout(geometry_of(checkpoint.config, encoder, 512, 512), "generate")
    ids = encoder.generate(PROMPT).ids
    embeddings = torch.from_numpy(checkpoint.embedding_rows().lookup(ids.tolist()))[None]
    print(json.dumps({"rows": "token_embeddings int8", "snr_db": round(rows_snr(checkpoint), 2)}), flush=True)
    last = embeddings
    for index, x in enumerate(states(checkpoint, layout, embeddings)):
        last = x
        if index in LAYERS:
            snr = layer_snr(checkpoint, layout, index, given.precision, x.clone())
            print(json.dumps({"layer": index, "precision": given.precision, "snr_db": round(snr, 2)}), flush=True)
    if given.bundle is not None:
        whole(open_bundle(given.bundle), embeddings, last[:, layout.drop :])


def whole(bundle: Bundle, embeddings: torch.Tensor, expected: torch.Tensor) -> None:
    """The bundle's whole tower against the reference's last states."""
    component = load_component(bundle, "text_encoder", threads=1)
    found = component.run("generate", {"embeddings": embeddings.numpy()})["prompt_states"]
    snr = compare(found, expected.numpy()).snr_db
    precision = bundle.component("text_encoder").precision
    print(json.dumps({"tower": "generate", "precision": precision, "snr_db": round(snr, 2)}))


if __name__ == "__main__":
    main()
