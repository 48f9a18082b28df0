"""What an operator is given: its inputs by name, each in the kind that the operator's definition asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import torch

from dreamlite_mobile.errors import BundleError

Argument = torch.Tensor | str | list[torch.Tensor]
"""A tensor, a text, or the tensors of an input that takes several."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """Inputs of one operator; `label` names it in messages."""

    label: str
    given: Mapping[str, Argument]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor that must be there."""
        found = self.given.get(name)
        return found if isinstance(found, torch.Tensor) else self.refuse(f"needs a tensor {name!r}")

    def optional(self, name: str) -> torch.Tensor | None:
        """A tensor, or None where none is given."""
        return self.tensor(name) if name in self.given else None

    def tensors(self, name: str) -> list[torch.Tensor]:
        """The tensors of an input that takes several."""
        found = self.given.get(name)
        if isinstance(found, list):
            return found
        return [self.tensor(name)]

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers."""
        if name not in self.given and default is not None:
            return default
        return tuple(int(value) for value in self.tensor(name).flatten().tolist())

    def flags(self, name: str, default: tuple[bool, ...]) -> tuple[bool, ...]:
        """A list of truth values."""
        return tuple(map(bool, self.integers(name, tuple(map(int, default)))))

    def integer(self, name: str, default: int | None = None) -> int:
        """One integer."""
        return int(self._scalar(name, default))

    def number(self, name: str, default: float | None = None) -> float:
        """One number."""
        return float(self._scalar(name, default))

    def flag(self, name: str, default: bool) -> bool:
        """One truth value."""
        return bool(self._scalar(name, default))

    def text(self, name: str, default: str | None = None) -> str:
        """One text."""
        found = self.given.get(name, default)
        return found if isinstance(found, str) else self.refuse(f"needs a text {name!r}")

    def refuse(self, problem: str) -> NoReturn:
        """BundleError that names the layer."""
        raise BundleError(f"{self.label}: {problem}. The package is damaged, or newer than this evaluator.")

    def _scalar(self, name: str, default: float | None) -> float:
        if name not in self.given and default is not None:
            return default
        found = self.tensor(name)
        if found.numel() != 1:
            self.refuse(f"needs one value for {name!r}, found {list(found.shape)}")
        return float(found.item())
