"""The score of w8a16 before and after, drawn by torch's fake quantisation of exactly the programs that are exported.

    python -m benchmarks.htp_score --size 128 --pictures 8

The emulator computes the same integers but takes minutes for one picture; where both were run, its outputs lie 55 dB
and more from these (benchmarks/htp.md). Prints the groups, the loss, and how near the pictures are.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from export.qnn_sdk import ready

ready()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from dreamlite_mobile.assembly import component_methods  # noqa: E402
from dreamlite_mobile.checkpoint import open_checkpoint  # noqa: E402
from dreamlite_mobile.components import MODES, component_specs  # noqa: E402
from dreamlite_mobile.networks.form import HTP  # noqa: E402
from dreamlite_mobile.parity.metrics import psnr  # noqa: E402
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline  # noqa: E402
from dreamlite_mobile.parity.scored import Scored  # noqa: E402
from dreamlite_mobile.runtime import Component  # noqa: E402
from dreamlite_mobile.runtime.torch import TorchComponent  # noqa: E402
from dreamlite_mobile.tiny.embedded import PACKAGED  # noqa: E402
from dreamlite_mobile.tiny.evaluate import evaluate, scores_json  # noqa: E402
from export.calibration import Inputs, trajectories  # noqa: E402
from export.driver import geometry_of, prompt_encoder  # noqa: E402
from export.qnn_plan import WeightPlan, planned  # noqa: E402
from export.qnn_quantize import quantised  # noqa: E402
from export.targets import target  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(PACKAGED))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=8, help="of each group")
    parser.add_argument("--modes", default=",".join(MODES))
    asked = parser.parse_args()
    modes = asked.modes.split(",")
    checkpoint = open_checkpoint(asked.checkpoint)
    encoder = prompt_encoder(checkpoint)
    geometry = geometry_of(checkpoint.config, encoder, asked.size, asked.size)
    specs = component_specs(geometry, modes)
    seen = trajectories(checkpoint, geometry, encoder, modes, specs)
    components: dict[str, Component] = {}
    for name, spec in specs.items():
        modules = component_methods(checkpoint, name, HTP, geometry, modes)
        plan = planned(name, "w8a16", modules, {method: seen.calls[name, method] for method in modules})
        fakes: Mapping[str, nn.Module] = {
            method: fake(module, seen.calls[name, method], plan) for method, module in modules.items()
        }
        components[name] = TorchComponent(fakes, spec.methods, name=name)
        print(f"{name}: {len(plan.wide)} layers with 16 bits, weights alone {plan.weights_db:.1f} dB", file=sys.stderr)
    sides = []
    for label, parts in (("fp32", reference_components(checkpoint, geometry, modes)), ("w8a16", components)):
        pipeline = reference_pipeline(checkpoint, geometry, encoder, parts)
        sides.append(evaluate(pipeline, asked.pictures, modes=modes))
        print(f"{label}: drawn", file=sys.stderr, flush=True)
    scored = Scored(*sides)
    near = [
        psnr(np.asarray(after.picture), np.asarray(before.picture))
        for group in sides[0].made
        for before, after in zip(sides[0].made[group], sides[1].made[group], strict=True)
    ]
    told = {
        "loss": scored.loss(),
        "before": scores_json({one.group: one.before for one in scored.groups()}),
        "after": scores_json({one.group: one.after for one in scored.groups()}),
        "turned wrong and right": {one.group: [one.lost, one.gained] for one in scored.groups()},
        "pictures_psnr_db": {"worst": min(near), "median": float(np.median(near)), "count": len(near)},
    }
    print(json.dumps(told, indent=1))


@torch.no_grad()
def fake(module: nn.Module, calls: Sequence[Inputs], plan: WeightPlan) -> nn.Module:
    """A method with quantisers and dequantisers around every operator."""
    return quantised(torch.export.export(module, calls[0]), calls[0], calls, plan, target("SM8650")).module()


if __name__ == "__main__":
    main()
