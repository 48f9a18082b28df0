"""Where the ranges of integer activations should end: observers compared on pictures that calibration did not draw.

    python -m benchmarks.htp_observers CHECKPOINT --json benchmarks/results/htp_observers.json

Every linear layer and convolution of a component takes and gives integers of a fixed range (torch, all else in fp32).
Ranges come from the first half of the pictures drawn (`export.calibration`, generate, 4 steps), SNR from the others.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchao.quantization.pt2e import HistogramObserver, MinMaxObserver

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import component_specs
from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.networks.form import form_of
from export.calibration import trajectories
from export.driver import geometry_of, prompt_encoder
from export.qnn_quantize import RoomyObserver
from export.qnn_short import SHORT, Observer, observed, outputs, shortened, worst_db

SIZE = 128
MODE = "generate"
COMPONENTS = ("text_encoder", "unet", "vae_decoder")
PICTURES = 8


class QuantileObserver(HistogramObserver):
    """The range that leaves out a share of the values at each end."""

    def __init__(self, share: float, **options: Any) -> None:
        super().__init__(**options)
        self.share = share

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, one of each."""
        below = self.histogram.cumsum(0) / self.histogram.sum()
        edges = torch.linspace(float(self.min_val), float(self.max_val), len(below) + 1)
        low = edges[int((below <= self.share).sum())]
        high = edges[int((below < 1 - self.share).sum()) + 1]
        return self._calculate_qparams(low.view(1), high.view(1))


OBSERVERS: dict[str, Callable[..., Observer]] = {
    "min-max": MinMaxObserver,
    "min-max doubled": RoomyObserver,
    "quantile 1e-4": partial(QuantileObserver, 1e-4),
    "quantile 1e-5": partial(QuantileObserver, 1e-5),
    "least squared error": HistogramObserver,
}


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """SNR in dB of each component, number of bits and observer: the worst output of the pictures held back."""
    checkpoint = open_checkpoint(folder)
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, SIZE, SIZE)
    specs = component_specs(geometry, [MODE], COMPONENTS)
    known = trajectories(checkpoint, geometry, encoder, [MODE], specs, PICTURES)
    for component in COMPONENTS:
        modules = component_methods(checkpoint, component, form_of("qnn", "w8a16"), geometry, [MODE])
        ((method, module),) = modules.items()
        drawn = known.calls[component, method][:-1]
        half = len(drawn) // 2
        seen, others = {method: drawn[:half]}, {method: drawn[half:]}
        layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, SHORT)}
        wanted = list(outputs(modules, others))
        for bits in (8, 16):
            for name, kind in OBSERVERS.items():
                ranges, _ = observed(modules, seen, layers, partial(observer_of, kind, bits))
                with shortened(layers.values(), ranges):
                    kept_db = worst_db(outputs(modules, others), wanted)
                yield {"component": component, "bits": bits, "observer": name, "snr_db": round(kept_db, 1)}


def observer_of(kind: Callable[..., Observer], bits: int) -> Observer:
    """One observer of asymmetric ranges."""
    most = 2**bits - 1
    return kind(dtype=torch.int32, qscheme=torch.per_tensor_affine, quant_min=0, quant_max=most, eps=1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for row in rows(options.checkpoint):
        found.append(row)
        print(f"{row['component']:14} {row['bits']:2} bits  {row['observer']:20} {row['snr_db']:6.1f} dB", flush=True)
    if options.json is not None:
        write_atomic(options.json, json.dumps(found, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
