"""What one comparison is about, and what came out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.parity.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Row:
    """One output of one method, run by two backends on the same input.

    pair: "found vs reference", e.g. "xnnpack vs torch". seconds: one run of the first of the pair.
    input_digest: `digest` of what both were given. origin: where that came from, a seeded sample or a real run.
    """

    component: str
    method: str
    output: str
    precision: str
    pair: str
    metrics: Metrics
    input_digest: str
    seconds: float
    origin: str = "sample"

    @property
    def backend(self) -> str:
        """The side that is judged."""
        return self.pair.partition(" vs ")[0]


def digest(inputs: Mapping[str, NDArray[Any]]) -> str:
    """Twelve hex digits naming a set of inputs: names, dtypes, shapes and bytes, in order of name."""
    state = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()[:12]
