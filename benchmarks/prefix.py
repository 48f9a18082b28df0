"""What a precomputed prefix saves in the text tower of the published configuration.

    .venv/bin/python -m benchmarks.prefix

Multiply-adds of the whole tower, counted by torch on the meta device, and processor milliseconds of one full-width
layer through XNNPACK (seeded weights, w4, one thread), each with and without the prefix run.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Method
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.quantisation import filled, in_turns, load, write
from dreamlite_mobile.assembly import text_encoder
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.networks import TextEncoder, TextLayout, build, fold
from dreamlite_mobile.networks.form import XNNPACK
from dreamlite_mobile.networks.text import TextTower
from dreamlite_mobile.parity.metrics import compare
from export.quantize import quantize
from export.xnnpack import lower

MODES = {"generate": TextLayout(234, 34), "edit": TextLayout(528, 64, (65, 321), 16)}
"""The published prompts; in edit mode with 256 image tokens."""
WIDTH = MOBILE.text.hidden_size
WAYS = {"run": False, "precomputed": True}


def multiply_adds(layout: TextLayout) -> float:
    """Of the whole tower, in 10**9."""
    tower, text = fold(build("text_encoder", MOBILE, XNNPACK)), MOBILE.text
    assert isinstance(tower, TextTower)
    encoder = text_encoder(tower, layout)
    for index in range(text.num_layers if layout.remembered else 0):
        for name in ("keys", "values"):
            encoder.register_buffer(f"{name}_{index}", torch.empty(text.num_kv_heads, layout.drop, text.head_dim))
    encoder.to("meta")
    with FlopCounterMode(display=False) as counter:
        encoder(torch.empty(1, layout.length - layout.start, WIDTH, device="meta"))
    return float(counter.get_total_flops()) / 2e9


def held_bytes(layout: TextLayout) -> int:
    """Of the keys and values that all layers hold, in float32."""
    text = MOBILE.text
    return 2 * 4 * text.num_layers * layout.drop * text.num_kv_heads * text.head_dim


def one_layer(layout: TextLayout, tower: TextTower, prefix: torch.Tensor) -> TextEncoder:
    """A mode of a tower of one layer, its prefix run beforehand where the layout says so."""
    encoder = text_encoder(tower, layout)
    if layout.remembered:
        encoder.remember(prefix)
    return encoder


def layer_times(mode: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Way -> processor milliseconds of one layer; and how far their states are apart."""
    layout, random = MODES[mode], torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = TextTower(replace(MOBILE.text, num_layers=1), XNNPACK)
    tower = filled(network, "text_encoder")
    assert isinstance(tower, TextTower)
    quantize(tower, "w4")
    tokens = torch.randn(1, layout.length, WIDTH, generator=random)
    loaded: dict[str, tuple[Method, torch.Tensor]] = {}
    for way, remembered in WAYS.items():
        its = replace(layout, remembered=remembered)
        inputs = tokens[:, its.start :].contiguous()
        lowered = lower({"forward": (one_layer(its, tower, tokens[:, : layout.drop]), (inputs,))}, "w4")
        write(lowered, folder / f"{way}.pte")
        loaded[way] = load(folder / f"{way}.pte", "forward"), inputs
    found = {way: method.execute([inputs])[0].numpy() for way, (method, inputs) in loaded.items()}
    yield "apart_snr_db", compare(found["precomputed"], found["run"]).snr_db
    for way, (method, inputs) in loaded.items():
        yield way, in_turns({way: method}, (inputs,))[way]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    portable_lib._unsafe_reset_threadpool(1)
    for mode, layout in MODES.items():
        counted = {way: round(multiply_adds(replace(layout, remembered=kept)), 1) for way, kept in WAYS.items()}
        held = round(held_bytes(layout) / 1e6, 1)
        print(json.dumps({"mode": mode, "gmac": counted, "held_mb": held}), flush=True)
    for mode in MODES:
        with tempfile.TemporaryDirectory() as folder:
            times = {way: round(value, 1) for way, value in layer_times(mode, Path(folder))}
        print(json.dumps({"mode": mode, "layer_ms": times}), flush=True)


if __name__ == "__main__":
    main()
