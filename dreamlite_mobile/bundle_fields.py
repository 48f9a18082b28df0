"""The kinds of value that a manifest's fields hold: names, numbers, paths."""

import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

MAX_STEPS = 50

Mode = Literal["generate", "edit"]
Precision = Literal["fp32", "fp16", "w8a16", "w4a16", "w8a8mix", "w8", "p6", "w4", "p4"]
Backend = Literal["xnnpack", "onnx", "qnn", "coreml"]
TableDtype = Literal["float32", "float16", "bfloat16", "int8"]

_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATH_LIMIT = 240


def check_relative(path: str) -> str:
    """Accept a plain relative posix path (ASCII letters, digits, `._-`); anything else raises ValueError."""
    if len(path) > _PATH_LIMIT:
        raise ValueError(f"a path of {len(path)} characters is longer than {_PATH_LIMIT}")
    for part in path.split("/"):
        if not _PATH_PART.fullmatch(part) or part.endswith("."):
            raise ValueError(
                f"path {path!r} is not a plain relative posix path inside the bundle "
                "(parts of letters, digits, '.', '_', '-', not starting with '.' or '-')"
            )
    return path


def _sigmas_descend(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    if sigmas[0] > 1.0 or sigmas[-1] != 0.0 or any(a <= b for a, b in pairwise(sigmas)):
        raise ValueError("sigmas must fall strictly from at most 1 to exactly 0")
    return sigmas


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
RelativePath = Annotated[str, AfterValidator(check_relative)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sigmas = Annotated[tuple[float, ...], Field(min_length=2, max_length=MAX_STEPS + 1), AfterValidator(_sigmas_descend)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Colour = tuple[float, float, float]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
