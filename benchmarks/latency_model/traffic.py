"""Compile one of the networks for SM8650 in fp16 and print what the compiler counts: `python -m ...traffic NET`.

Minutes each. Not every network of the table compiles without Qualcomm's own rewriting of it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from export.qnn_sdk import ready

SHAPES = {
    "resnet50": (1, 3, 224, 224),
    "real_esrgan_general_x4v3": (1, 3, 128, 128),
    "whisper_tiny HfWhisperEncoder": (1, 80, 3000),
    "fcn_resnet50": (1, 3, 520, 520),
}


def main(name: str) -> None:
    ready()
    import torch
    from torch import nn

    from benchmarks.latency_model.nets import NETS
    from export.qnn import lower
    from export.targets import target

    class FirstOutput(nn.Module):
        """The one tensor that a network is there for."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.net(x)
            return made if isinstance(made, torch.Tensor) else next(iter(made.values()))

    torch.manual_seed(0)
    net = FirstOutput(NETS[name].build()[0]).eval().requires_grad_(False)
    found = lower({"forward": (net, (torch.randn(SHAPES[name]),))}, target("SM8650"), "fp16").traffic["forward"]
    print(name, found.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1])
