"""Operators of the MIL evaluator called as the evaluator calls them, with the inputs that a program would bind."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

from dreamlite_mobile.runtime.mil.arguments import Arguments
from dreamlite_mobile.runtime.mil.evaluator import KERNELS

lengths = st.integers(1, 5)
quick = settings(max_examples=30, deadline=None)


def shapes(least: int = 1, most: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(lengths, min_size=least, max_size=most).map(tuple)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(kind: str, **inputs: object) -> torch.Tensor:
    return KERNELS[kind](Arguments(kind, {name: bound(value) for name, value in inputs.items() if value is not None}))


def bound(value: object) -> object:
    """As the evaluator holds it: texts, tensors, lists of tensors."""
    if isinstance(value, str | torch.Tensor) or (isinstance(value, list) and isinstance(value[0], torch.Tensor)):
        return value
    return torch.tensor(value)


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found.float(), expected.float(), rtol=1e-5, atol=1e-5)
