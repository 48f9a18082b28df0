"""What shards hand on while the fp32 network makes its calibration calls: kept on disk, read back shard by shard.

So ranges of a shard can be found where neither the other shards nor the values between them have room in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dreamlite_mobile.components import ComponentSpec, MethodSpec
from dreamlite_mobile.errors import OutputError
from export.calibration import Calls, Inputs
from export.shards import Shard


@torch.no_grad()
def record_handed(shards: Sequence[Shard], spec: ComponentSpec, calls: Calls, folder: Path) -> None:
    """Run the shards in turn, each on all calls of all methods, and write what each gives to a new `folder`, in fp32.

    Args:
        calls: of the whole component, by method.

    Raises:
        OutputError: no room.
    """
    folder.mkdir()
    for shard in shards:
        for method, part in shard.parts.items():
            given = ShardCalls(folder, method, spec.methods[method], calls[method], part.method)
            for index, inputs in enumerate(given):
                for tensor, made in zip(part.method.outputs, part.module(*inputs), strict=True):
                    write_value(handed_file(folder, method, index, tensor.name), made)


def read_value(path: Path) -> torch.Tensor:
    """What `write_value` wrote."""
    with safe_open(path, "pt") as file:
        found: torch.Tensor = file.get_tensor("value")
    return found


def handed_file(folder: Path, method: str, call: int, value: str) -> Path:
    """Where a value of one call lies."""
    return folder / f"{method}.{call}.{value}.safetensors"


def write_value(path: Path, value: torch.Tensor) -> None:
    """One value, in a file of its own."""
    try:
        save_file({"value": value.contiguous()}, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path}: what calibration hands from shard to shard cannot be written: {error}; "
            "free space there, or set TMPDIR to a folder with more"
        ) from error


@dataclass(frozen=True, slots=True)
class ShardCalls(Sequence[Inputs]):
    """What one shard's part of a method is given, call by call; read when it is asked for.

    `whole` describes the method, `given` are its calls; `part` says what the shard takes of them and of `folder`.
    """

    folder: Path
    method: str
    whole: MethodSpec
    given: Sequence[Inputs]
    part: MethodSpec

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, index: int) -> Inputs: ...

    @overload
    def __getitem__(self, index: slice) -> list[Inputs]: ...

    def __getitem__(self, index: int | slice) -> Inputs | list[Inputs]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        call = range(len(self))[index]
        own = dict(zip((tensor.name for tensor in self.whole.inputs), self.given[call], strict=True))
        return tuple(
            own[tensor.name]
            if tensor.name in own
            else read_value(handed_file(self.folder, self.method, call, tensor.name))
            for tensor in self.part.inputs
        )

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(len(self)))

    def results(self) -> Iterator[torch.Tensor]:
        """What the shard gave, call by call, output by output."""
        for call in range(len(self)):
            for tensor in self.part.outputs:
                yield read_value(handed_file(self.folder, self.method, call, tensor.name))

    def spans(self) -> list[tuple[float, float]]:
        """The least and the largest value of each output over all calls."""
        found = [(inf, -inf)] * len(self.part.outputs)
        for index, result in enumerate(self.results()):
            low, high = found[index % len(found)]
            found[index % len(found)] = min(low, float(result.min())), max(high, float(result.max()))
        return found


@dataclass(frozen=True, slots=True)
class Results:
    """What a shard's methods gave, in turn; read anew whenever it is gone through."""

    calls: Mapping[str, ShardCalls]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (result for given in self.calls.values() for result in given.results())
