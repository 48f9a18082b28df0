"""What a network does in one call: multiply-adds, numbers written and bytes moved, by kind of operator.

Counted while the network runs on fake tensors, which have shapes and no values: nothing is computed or allocated.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Kind = Literal["conv", "depthwise", "linear", "attention", "softmax", "elementwise"]
KINDS: tuple[Kind, ...] = ("conv", "depthwise", "linear", "attention", "softmax", "elementwise")
"""`depthwise`: convolutions of each channel alone; `linear`: products with weights; `attention`: products of two
activations. The last two are counted in numbers written, the others in multiply-adds."""

_PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
_SOFTMAX = ("_softmax", "_safe_softmax")
_FREE = ("_native_batch_norm_legit_no_training", "native_batch_norm", "relu", "relu_")
"""Folded into the convolution before them by every compiler."""
_MOVES = ("clone", "_unsafe_view", "copy_", "_to_copy", "lift_fresh_copy", "embedding", "index")
"""What torch moves for its own sake, and what only picks rows."""


@dataclass(frozen=True, slots=True)
class Work:
    """Sums over a call.

    amounts: multiply-adds or numbers of each kind. operators: how many take part. weights: numbers in weights, each
    counted once. touched: size in numbers of an activation -> how often operators read or write one of that size.
    """

    amounts: Mapping[Kind, int]
    operators: int
    weights: int
    touched: Mapping[int, int]

    @property
    def macs(self) -> int:
        return sum(self.amounts[kind] for kind in KINDS[:4])

    def traffic(self, weight_bytes: float, activation_bytes: float, kept_bytes: float) -> float:
        """Bytes to and from DDR: weights once, and every activation that is too large to be kept in between."""
        moved = sum(size * times for size, times in self.touched.items() if size * activation_bytes > kept_bytes)
        return self.weights * weight_bytes + moved * activation_bytes


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator below autograd."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = {key(tensor): held(tensor) for tensor in module.state_dict(keep_vars=True).values()}
        self.used: set[int] = set()
        self.amounts: Counter[Kind] = Counter()
        self.touched: Counter[int] = Counter()
        self.operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = func.__name__.partition(".")[0]
        if tensors and not is_view(func) and name not in (*_FREE, *_MOVES) and isinstance(first(made), torch.Tensor):
            self.count(name, args, tensors, first(made))
        return made

    def count(self, name: str, args: tuple[Any, ...], tensors: list[torch.Tensor], made: torch.Tensor) -> None:
        weights = [key(tensor) for tensor in tensors if key(tensor) in self.parameters]
        activations = [tensor for tensor in tensors if key(tensor) not in self.parameters]
        if not activations:
            return  # derived from weights alone: a constant
        self.used.update(weights)
        kind, amount = classify(name, args, made, bool(weights))
        self.amounts[kind] += amount
        self.operators += 1
        for tensor in (*activations, made):
            self.touched[tensor.numel()] += 1

    def work(self) -> Work:
        return Work(
            {kind: self.amounts[kind] for kind in KINDS},
            self.operators,
            sum(self.parameters[one] for one in self.used),
            dict(self.touched),
        )


def classify(name: str, args: tuple[Any, ...], made: torch.Tensor, weighted: bool) -> tuple[Kind, int]:
    """Kind and amount of one operator."""
    if name == "convolution":
        image, weight, transposed, groups = args[0], args[1], args[6], args[8]
        kind: Kind = "depthwise" if groups > 1 and groups == image.shape[1] else "conv"
        return kind, (image if transposed else made).numel() * weight[0].numel()
    if name in _PRODUCTS:
        left = args[_PRODUCTS[name][0]]
        return ("linear" if weighted else "attention"), made.numel() * int(left.shape[-1])
    if name in _SOFTMAX:
        return "softmax", made.numel()
    return "elementwise", made.numel()


def key(tensor: torch.Tensor) -> int:
    """What views of one tensor share."""
    return cast("int", tensor.untyped_storage()._cdata)


def held(tensor: torch.Tensor) -> int:
    """How many numbers a tensor and those that share its memory hold."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def first(made: Any) -> Any:
    return made[0] if isinstance(made, (tuple, list)) and made else made


def is_view(func: Any) -> bool:
    """Whether an operator only looks at its input in another way."""
    return any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)


@contextmanager
def fake_tensors() -> Iterator[None]:
    """In here tensors have no values. Build what is to be counted inside."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(module: nn.Module, run: Callable[[], object]) -> Work:
    """The work of what `run` does with a module, both made inside `fake_tensors`."""
    with sdpa_kernel(SDPBackend.MATH), _Counting(module) as counting:
        run()
    return counting.work()
