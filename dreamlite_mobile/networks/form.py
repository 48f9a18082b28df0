"""How the same arithmetic is written for one compiler. A form is a row of data; no network branches on a backend."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from dreamlite_mobile.errors import ConfigError, unknown_name


@dataclass(frozen=True, slots=True)
class Form:
    """The choices a network is built with. Parameters and their names do not depend on them.

    norms: `op` keeps `layer_norm`, `rms_norm` and `group_norm` whole; `primitive` writes them in multiplications,
        additions and small matrix products; `bounded` keeps `layer_norm`, writes `group_norm` as an instance norm of
        the groups, and `rms_norm` so that no square is larger than 1 (in fp16 that of 256 already is infinite).
    upsample: how nearest x2 followed by a 3x3 convolution is written: `resize` as published, `transposed` as one
        stride-2 4x4 transposed convolution, `differences` as nine matrix products over the picture and its
        differences. All are exact; they take 36, 16 and 9 multiply-adds.
    downsample: the 3x3 convolution with stride 2, `conv` as such or `taps` as a sum of matrix products.
    gelu: `op`, or `tanh`: its tanh approximation in primitives, relative error 1.8e-4. The one choice that is not
        exact: in front of a matrix product in fp16, the HTP's own operator is wrong by 2e-3 to 5e-3, the primitives by
        6e-4.
    gelu_tanh: `op` or `primitive`, where a model asks for the tanh approximation of GELU.
    mask: what is subtracted from an attention score that must not count, upstream 1e4. Any number that makes its
        weight vanish is exact; where scores are integers of 16 bits, 1e4 would leave them steps of 0.15.
    channels_last: whether a picture becomes rows, and rows a picture, with its channels last (NHWC), as the HTP holds
        pictures; else it is transposed twice on the way, through memory where it is large.
    row_tiles: (channels, rows) pairs; transformer blocks of that width run in tiles of that many rows.
    strips: transformers whose rows do not look at each other are tiled before a picture becomes rows, in strips of it,
        so that no tensor holds all rows at once.
    phases: transformers work in phases over all rows that hand on little: the projection in front, each layer (of one
        with self-attention both attentions, then its feed-forward, untiled), the projection behind. A compiler that
        sees several at once mixes them and spills; a cut between them keeps them apart (`export/shards.py`).
    bands: (channels, most channels that come in, lines): in levels of that width a resnet in which pictures meet, and
        the norm of a transformer, are written in bands of so many lines: the statistics of a norm apart from what it
        scales, and the pictures apart from each other. The first row that holds; none, and pictures stay whole.
    up_parts: (channels, parts): upsamplers of that width are as many convolutions, each giving some of the channels.
    sigmoid_gates: widths of the feed-forwards that write GELU's tanh approximation by a sigmoid: three operators
        fewer, and a half to two thirds of the time to compile where a layer runs in tiles, as those of these widths
        do in the published configuration. One that runs whole spills so.
    """

    name: str
    norms: Literal["op", "primitive", "bounded"] = "op"
    upsample: Literal["resize", "transposed", "differences"] = "resize"
    downsample: Literal["conv", "taps"] = "conv"
    gelu: Literal["op", "tanh"] = "op"
    gelu_tanh: Literal["op", "primitive"] = "op"
    mask: float = 1e4
    channels_last: bool = False
    row_tiles: tuple[tuple[int, int], ...] = ()
    strips: bool = False
    phases: bool = False
    bands: tuple[tuple[int, int, int], ...] = ()
    up_parts: tuple[tuple[int, int], ...] = ()
    sigmoid_gates: tuple[int, ...] = ()

    def lines(self, channels: int, incoming: int) -> int:
        """Lines per band where so many channels come into a level of this width; 0 means whole pictures."""
        return next((lines for width, most, lines in self.bands if width == channels and incoming <= most), 0)

    def upsamplers(self, channels: int) -> int:
        """Convolutions that an upsampler of this width consists of."""
        return dict(self.up_parts).get(channels, 1)

    def tile(self, channels: int) -> int:
        """Rows per tile for transformer blocks of this width; 0 means whole."""
        return dict(self.row_tiles).get(channels, 0)


REFERENCE = Form("reference")
XNNPACK = Form("xnnpack", norms="primitive", upsample="differences", downsample="taps", gelu_tanh="primitive")
HTP = Form(
    "htp",
    upsample="transposed",
    gelu="tanh",
    gelu_tanh="primitive",
    mask=128.0,
    channels_last=True,
    row_tiles=((256, 512), (512, 256), (896, 512)),
)
HTP_PHASES = replace(
    HTP,
    name="htp-phases",
    row_tiles=((256, 512), (512, 128), (896, 256)),
    phases=True,
    bands=((256, 512, 8), (256, 768, 4), (512, 512, 8)),
    up_parts=((512, 4), (896, 4)),
    sigmoid_gates=(256, 512),
)
"""What a large U-Net in fp16 is cut into phases from (`export/shards.py`); as one graph, or in few, it spills more than
`HTP`. Tiles, bands and parts are those that moved least of what was compiled at 1024x1024 (benchmarks/htp.md)."""
HTP_INTEGERS = replace(HTP, name="htp-integers", gelu="op")
"""In integers each primitive of GELU is an operator with a range of its own, which moves more. Beside 8-bit weights it
is no more accurate, beside 16-bit ones by 2 to 3 dB of more than 60 (benchmarks/htp.md)."""
LONGEST_AXIS = 16_384
"""Of a tensor that the Neural Engine takes (coremltools issue 1003); what is longer, the CPU computes."""
COREML = Form(
    "coreml",
    norms="bounded",
    upsample="transposed",
    row_tiles=((256, 4096), (512, 2048), (896, 1024)),
    strips=True,
)
"""For the Neural Engine, judged by operator counts (benchmarks/coreml.md) since no Apple device was at hand.

Everything stays at rank 4 or less, and pictures stay channels-first. One instance norm stands for the nine operators
that the converter makes of a group norm. The converter's own RMS norm adds eps to squares that it has divided by the
largest, so it is another function where rows are small, and not a number where they are zero; this one is exact.
Linear layers stay linear, over rows: as 1x1 convolutions on [1, C, 1, N], which Apple once advised, they would add
transpositions around every attention, whose query heads are folded into the rows of one key/value head. Attention is
two products and a softmax, which the Neural Engine has; MIL's own operator would need the keys copied for every head.
Rows are tiled so that rows times heads stay below LONGEST_AXIS: 32,768 rows of four heads at 1024x1024 would not.
"""
ONNX = Form("onnx")

FORMS = {form.name: form for form in (REFERENCE, XNNPACK, HTP, HTP_PHASES, HTP_INTEGERS, COREML, ONNX)}
_OF_BACKENDS = {"xnnpack": XNNPACK, "onnx": ONNX, "qnn": HTP, "coreml": COREML}


def form_of(backend: str, precision: str) -> Form:
    """The form of a component in a backend's precision; components of one bundle may differ.

    Raises:
        ConfigError: an unknown backend.
    """
    if backend not in _OF_BACKENDS:
        raise ConfigError(unknown_name("backend", backend, _OF_BACKENDS))
    return HTP_INTEGERS if backend == "qnn" and precision != "fp16" else _OF_BACKENDS[backend]


class Foldable(nn.Module):
    """A module that derives kernels or constants from its loaded parameters, once, before use."""

    def fold(self) -> None:
        """Replace published parameters by what the form computes with."""
        raise NotImplementedError


def fold(network: nn.Module) -> nn.Module:
    """Finish a loaded network: derive every kernel and constant, freeze, switch to evaluation."""
    for module in list(network.modules()):
        if isinstance(module, Foldable):
            module.fold()
    return network.eval().requires_grad_(False)


def linear_of(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """A Linear over the given tensors, which are not copied. weight [out, in], bias [out]."""
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear
