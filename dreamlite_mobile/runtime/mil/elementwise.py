"""Operators that treat every number alike, and reductions. Definitions and defaults: MIL, iOS 18 operator set."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from dreamlite_mobile.runtime.mil.arguments import Arguments

Kernel = Callable[[Arguments], torch.Tensor]
Unary = Callable[[torch.Tensor], torch.Tensor]
Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
_CASTS = {
    "fp16": torch.float32,
    "fp32": torch.float32,
    "int32": torch.int32,
    "bool": torch.bool,
}
"""Floating point is held in fp32 throughout; the evaluator rounds what the program declares as fp16."""


def unary(function: Unary) -> Kernel:
    return lambda given: function(given.tensor("x"))


def binary(function: Binary) -> Kernel:
    """Of `x` and `y`, broadcast against each other."""
    return lambda given: function(given.tensor("x"), given.tensor("y"))


def reduction(function: Callable[[torch.Tensor, list[int], bool], torch.Tensor]) -> Kernel:
    """Over `axes` (by default all)."""

    def reduce(given: Arguments) -> torch.Tensor:
        x = given.tensor("x")
        axes = list(given.integers("axes", tuple(range(x.ndim))))
        return function(x, axes, given.flag("keep_dims", False))

    return reduce


def cast(given: Arguments) -> torch.Tensor:
    wanted = given.text("dtype")
    if wanted not in _CASTS:
        given.refuse(f"casts to {wanted!r}; supported: {', '.join(_CASTS)}")
    return given.tensor("x").to(_CASTS[wanted])


def gelu(given: Arguments) -> torch.Tensor:
    x, mode = given.tensor("x"), given.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in _GELU:
        given.refuse(f"has mode {mode!r}; supported: {', '.join(_GELU)}, SIGMOID_APPROXIMATION")
    return F.gelu(x, approximate=_GELU[mode])


def rsqrt(given: Arguments) -> torch.Tensor:
    return torch.rsqrt(given.tensor("x") + given.number("epsilon", 1e-12))


def inverse(given: Arguments) -> torch.Tensor:
    """The default is so large that it shows: 1e-4."""
    return 1.0 / (given.tensor("x") + given.number("epsilon", 1e-4))


def softmax(given: Arguments) -> torch.Tensor:
    return given.tensor("x").softmax(given.integer("axis", -1))


ELEMENTWISE: Mapping[str, Kernel] = {
    "abs": unary(torch.abs),
    "cos": unary(torch.cos),
    "erf": unary(torch.erf),
    "exp": unary(torch.exp),
    "identity": unary(torch.clone),
    "relu": unary(torch.relu),
    "sigmoid": unary(torch.sigmoid),
    "silu": unary(F.silu),
    "sin": unary(torch.sin),
    "softplus": unary(F.softplus),
    "sqrt": unary(torch.sqrt),
    "square": unary(torch.square),
    "tanh": unary(torch.tanh),
    "add": binary(torch.add),
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "mul": binary(torch.mul),
    "pow": binary(torch.pow),
    "real_div": binary(torch.true_divide),
    "sub": binary(torch.sub),
    "reduce_max": reduction(torch.amax),
    "reduce_mean": reduction(torch.mean),
    "reduce_min": reduction(torch.amin),
    "reduce_sum": reduction(torch.sum),
    "cast": cast,
    "gelu": gelu,
    "inverse": inverse,
    "rsqrt": rsqrt,
    "softmax": softmax,
}
