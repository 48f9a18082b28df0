"""The published schema of what `dreamlite parity --json` and `dreamlite bisect --json` print, version 2.

`schemas/` beside this file holds it as JSON Schema. Unknown keys are refused, values are never coerced. A decibel that
is infinite is null, and `exact` says whether it stands for equality.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.strict import Strict

VERSION = 2
DRAFT = "https://json-schema.org/draft/2020-12/schema"


EXACT: Literal["exact"] = "exact"


def level(decibels: float) -> float | Literal["exact"] | None:
    """A metric as JSON holds it: null for none at all."""
    if decibels == float("inf"):
        return EXACT
    return None if decibels == float("-inf") else decibels


class RowEntry(Strict):
    """One output of one method, of two sides, on one input. `metric` is what decides, against `floor_db`."""

    component: str
    method: str
    output: str
    precision: str
    pair: str
    snr_db: float | None
    psnr_db: float | None
    relative_rms: float | None
    cosine: float
    max_error: float | None
    worst: list[int]
    defects: list[str]
    exact: bool
    metric: Literal["SNR", "PSNR"]
    floor_db: float
    passed: bool
    problem: str | None
    origin: str
    input_digest: str
    seconds: float

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same comparison in another report."""
        return self.component, self.method, self.output, self.pair, self.origin

    @property
    def decibels(self) -> float:
        """The metric that decides: infinite for equality, minus infinity for a defect."""
        value = self.psnr_db if self.metric == "PSNR" else self.snr_db
        if value is None or self.defects:
            return float("inf") if self.exact and not self.defects else float("-inf")
        return value


class StageSeconds(Strict):
    """Seconds by stage of one picture."""

    side: str
    mode: str
    stages: dict[str, float]


class LayerEntry(Strict):
    """The numbers of one layer of the float32 reference. `peak` null: not finite. `weights` to `scales` are null where
    the bundle's precision does not quantise the layer; the last two where its activations are no integers of a fixed
    range, `span`."""

    component: str
    method: str
    layer: str
    kind: str
    values: int
    peak: float | None
    overflow: int
    denormal: int
    flushed: int
    weights: int | None = None
    weights_at_end: int | None = None
    scales: int | None = None
    span: list[float] | None = None
    beyond_span: int | None = None


class BlockEntry(Strict):
    """One block of a bisection; SNR in dB, null where it was not measured or has none, `exact` where it is infinite.

    `defects` say which result is not finite or constant, whatever its number."""

    block: str
    kind: str
    alone_db: float | Literal["exact"] | None
    shipped_db: float | Literal["exact"] | None
    cumulative_db: float | Literal["exact"] | None
    defects: list[str]
    differences: list[str]
    problem: str | None
    seconds: float


class BisectReport(Strict):
    """Everything `dreamlite bisect` found. `first`, `worst` and `culprit` are names of blocks."""

    version: Literal[2] = 2
    bundle: str
    backend: str
    component: str
    method: str
    precision: str
    origin: str
    input_digest: str
    floor_db: float
    source: str
    whole_db: float | Literal["exact"] | None
    whole_defects: list[str]
    blocks: list[BlockEntry]
    first: str | None
    worst: str | None
    culprit: str | None
    elsewhere: list[str]
    notes: list[str]
    repro: str | None
    tools: dict[str, str]


class ScoreEntry(Strict):
    """The score of one side: the mean over kinds, each kind, and for edits the mean PSNR in dB of what was kept."""

    overall: float
    by_kind: dict[str, float]
    kept_db: float | None


class GroupScoreEntry(Strict):
    """One group of prompts before the export (float32 torch) and after it, from equal noise. `lost`: pictures right
    before and wrong after; `gained`: the other way."""

    group: str
    pictures: int
    before: ScoreEntry
    after: ScoreEntry
    lost: int
    gained: int


class BundleReport(Strict):
    """One bundle: every row, what pictures cost, the numbers of every layer, and block by block where asked for.

    `score` is empty and `score_problem` null where no score was asked for."""

    bundle: str
    backend: str
    target: str
    size: str
    checkpoint: str
    precision: dict[str, str]
    parity: list[RowEntry]
    seconds: list[StageSeconds]
    numbers: list[LayerEntry]
    number_problems: list[str]
    blocks: list[BisectReport]
    score: list[GroupScoreEntry] = Field(default_factory=list)
    score_problem: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same subject in another report: its name is a matter of taste."""
        precisions = ",".join(f"{name}={precision}" for name, precision in sorted(self.precision.items()))
        return self.checkpoint, self.backend, self.target, self.size, precisions


class ChangeEntry(Strict):
    """One comparison in both reports, by the metric that decides: `exact` for equality, null for a defect."""

    bundle: str
    component: str
    method: str
    output: str
    pair: str
    origin: str
    before_db: float | Literal["exact"] | None
    now_db: float | Literal["exact"] | None
    other_inputs: bool
    regression: bool


class DiffEntry(Strict):
    """Everything that differs from an earlier report, and what only one of the two compares."""

    against: str
    tolerance_db: float
    changes: list[ChangeEntry]
    gone: list[str]
    new: list[str]


class ParityReport(Strict):
    """Everything `dreamlite parity` found. `report`: where the page was written, if it was; `diff`: with --against."""

    version: Literal[2] = 2
    tools: dict[str, str]
    bundles: list[BundleReport] = Field(min_length=1)
    report: str | None = None
    diff: DiffEntry | None = None


SCHEMAS: dict[str, type[Strict]] = {"parity-report.json": ParityReport, "bisect-report.json": BisectReport}
"""File name in `schemas/` beside this file -> what it describes."""


def json_schema(model: type[Strict]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12), as published."""
    return {"$schema": DRAFT, **model.model_json_schema()}


def read_report(path: Path) -> ParityReport:
    """An earlier report.

    Raises:
        ConfigError: no such file, or one that is no report of this version.
    """
    try:
        return ParityReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--against {path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"--against {path}: is no parity report of version {VERSION} ({where}: {first['msg']}). "
            "Give it what `dreamlite parity --json` printed."
        ) from error
