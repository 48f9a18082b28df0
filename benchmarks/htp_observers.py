"""Where 16-bit ranges come from: observers of activations compared on runs that calibration did not see.

    python -m benchmarks.htp_observers --components unet,vae_decoder --size 128

Torch's fake quantisation of the very programs that the HTP's compiler is given, SNR against torch fp32, the worst of
all calls; no program is compiled.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from export.qnn_sdk import ready

ready()

import torch  # noqa: E402
from torchao.quantization.pt2e import MinMaxObserver  # noqa: E402

from dreamlite_mobile.assembly import component_methods  # noqa: E402
from dreamlite_mobile.checkpoint import open_checkpoint  # noqa: E402
from dreamlite_mobile.components import MODES, component_specs  # noqa: E402
from dreamlite_mobile.networks.form import HTP  # noqa: E402
from dreamlite_mobile.parity.metrics import compare  # noqa: E402
from dreamlite_mobile.tiny.embedded import PACKAGED  # noqa: E402
from export.calibration import trajectories  # noqa: E402
from export.driver import geometry_of, prompt_encoder  # noqa: E402
from export.qnn_plan import outputs, planned  # noqa: E402
from export.qnn_quantize import quantised  # noqa: E402
from export.targets import target  # noqa: E402

UNSEEN_SEED = 99_173
KEPT = 4096
"""Values of each call that the observers which look at more than its ends keep, evenly spaced."""


class Roomy(MinMaxObserver):
    """The range seen, `room` times as wide."""

    room = 1.0

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._calculate_qparams(self.min_val * self.room, self.max_val * self.room)


class Roomy15(Roomy):
    room = 1.5


class Roomy2(Roomy):
    room = 2.0


class Roomy4(Roomy):
    room = 4.0


class Sampling(MinMaxObserver):
    """Keeps values for a rule over all of them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.detach().flatten()
        self.kept = [*getattr(self, "kept", []), flat[:: max(1, len(flat) // KEPT)]]
        return super().forward(x)

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.min_val, self.max_val

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = self.ends()
        return self._calculate_qparams(low, high)


class Quantile(Sampling):
    """From the 0.01th to the 99.99th percentile."""

    part = 1e-4

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.cat(self.kept).sort().values
        cut = int(len(values) * self.part)
        return values[cut], values[len(values) - 1 - cut]


class RoomyQuantile(Quantile):
    """The same, twice as wide."""

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = super().ends()
        return low * 2, high * 2


class SquaredError(Sampling):
    """The share of the range, or the multiple of it, whose rounding and clipping cost the values least."""

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.cat([*self.kept, self.min_val.view(1), self.max_val.view(1)])
        shares = torch.linspace(0.3, 1.2, 19).tolist()
        best = min(shares, key=lambda share: self.cost(values, share))
        return self.min_val * best, self.max_val * best

    def cost(self, values: torch.Tensor, share: float) -> float:
        scale, zero = self._calculate_qparams(self.min_val * share, self.max_val * share)
        codes = ((values / scale).round() + zero).clamp(self.quant_min, self.quant_max)
        return float(((codes - zero) * scale - values).square().mean())


OBSERVERS: dict[str, type[MinMaxObserver]] = {
    "min-max": Roomy,
    "min-max x 1.5": Roomy15,
    "min-max x 2": Roomy2,
    "min-max x 4": Roomy4,
    "quantile 99.99%": Quantile,
    "quantile x 2": RoomyQuantile,
    "squared error": SquaredError,
}


def worst(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> tuple[float, float]:
    """The lowest SNR of all outputs in dB, and their median."""
    values = sorted(compare(a.numpy(), b.numpy()).snr_db for a, b in zip(found, wanted, strict=True))
    return round(values[0], 1), round(values[len(values) // 2], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(PACKAGED))
    parser.add_argument("--components", default="text_encoder,unet,vae_decoder")
    parser.add_argument("--observers", default=",".join(OBSERVERS))
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    checkpoint, names = open_checkpoint(asked.checkpoint), asked.components.split(",")
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, asked.size, asked.size)
    specs = component_specs(geometry, MODES, names)
    seen = trajectories(checkpoint, geometry, encoder, MODES, specs)
    unseen = trajectories(checkpoint, geometry, encoder, MODES, specs, 1, UNSEEN_SEED)
    for name in names:
        plain = component_methods(checkpoint, name, HTP, geometry, MODES)
        modules = component_methods(checkpoint, name, HTP, geometry, MODES)
        plan = planned(name, "w8a16", modules, {method: seen.calls[name, method] for method in modules})
        for method, module in modules.items():
            calls, new = seen.calls[name, method], unseen.calls[name, method][:-1]
            wanted = list(outputs({method: plain[method]}, {method: new}))
            rows = {"weights alone": worst(list(outputs({method: module}, {method: new})), wanted)}
            for label in asked.observers.split(","):
                with torch.no_grad():
                    program = torch.export.export(module, calls[0])
                    fake = quantised(program, calls[0], calls, plan, target("SM8650"), OBSERVERS[label]).module()
                    rows[label] = worst(list(outputs({method: fake}, {method: new})), wanted)
                print(f"{name} {method} {label}: {rows[label]}", file=sys.stderr, flush=True)
            print(json.dumps({"component": name, "method": method, "worst_and_median_db": rows}), flush=True)


if __name__ == "__main__":
    main()
