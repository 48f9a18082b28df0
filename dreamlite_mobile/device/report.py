"""The published schema of a benchmark's result file, version 1: what ran, where, how, and every raw sample.

`schemas/bench-report.json` holds it as JSON Schema. Unknown keys are refused, values are never coerced.
"""

import statistics
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from dreamlite_mobile.bundle_files import describe
from dreamlite_mobile.bundle_schema import Mode, Sha256
from dreamlite_mobile.device.conditions import Seen
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.schema import AppVersions, RunRequest, RunResult
from dreamlite_mobile.device.stats import Summary
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.strict import Strict

VERSION = 1


class BundleIdentity(Strict):
    """Which bundle; `sha256` is of its manifest, which names every file by digest."""

    name: str
    sha256: Sha256
    checkpoint: str
    checkpoint_sha256: Sha256
    backend: str
    target: str
    precision: str
    width: int
    height: int
    tools: dict[str, str]


class Method(Strict):
    """How it was measured. `rounds`: processes for each case, whose turns were dealt in alternating order."""

    runs: int
    rounds: int
    warm_up: int
    steps: int
    seed: int
    prompt: str
    instruction: str
    threads: int | None
    cool_down_s: float
    sustain_s: float | None


class Round(Strict):
    """One process of the app, with the phone as seen before and after it.

    `others_share`: the most that other processes used of all CPUs while it ran; null where the phone does not tell.
    """

    before: Seen
    result: RunResult
    after: Seen
    others_share: float | None = None
    cooled_s: float
    cooled: bool

    @model_validator(mode="after")
    def _was_measured(self) -> Self:
        if self.result.problem is not None:
            raise ValueError("a round holds what the app refused, not a measurement")
        return self


class Flag(Strict):
    """Something that makes the numbers less than they seem."""

    kind: Literal["throttling", "hot", "charging", "background", "noisy", "slowing", "clock", "guessed", "emulated"]
    text: str


class Correctness(Strict):
    """The phone's picture against the host's for the same seed; decibels null where they are equal."""

    psnr_db: float | None
    floor_db: float
    exact: bool
    reference: str
    passed: bool


class Stage(Strict):
    """Where the time of a warm run goes: the median of its share of every timed run."""

    name: str
    ms: float
    share: float


class Case(Strict):
    """One mode of one bundle. `cold`: from nothing loaded to the first picture; `warm`: the timed runs."""

    bundle: str
    mode: Mode
    rounds: Annotated[tuple[Round, ...], Field(min_length=1)]
    cold: Summary
    warm: Summary
    load: tuple[Stage, ...]
    stages: tuple[Stage, ...]
    sustained: tuple[float, ...] = ()
    peak_pss_bytes: int | None
    correctness: Correctness | None
    flags: tuple[Flag, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.bundle, self.mode

    @property
    def warm_ms(self) -> list[float]:
        """Every timed run of every round."""
        return [sample.total_ms for round_ in self.rounds for sample in round_.result.timed]

    @property
    def warm_rounds(self) -> list[float]:
        """The median of the timed runs of each round."""
        return [statistics.median(sample.total_ms for sample in round_.result.timed) for round_ in self.rounds]

    @property
    def cold_ms(self) -> list[float]:
        return [round_.result.cold_ms for round_ in self.rounds]


class ComponentCase(Strict):
    """One method of one component through a runner binary. Each sample is the mean of `runs_a_sample` runs.

    `snr_db`: its outputs against the host's, null for equality or without a host; `passed` null without a host.
    """

    bundle: str
    component: str
    method: str
    runner: str
    first_ms: float
    samples_ms: tuple[float, ...]
    runs_a_sample: int
    warm: Summary
    snr_db: float | None
    floor_db: float
    passed: bool | None


class BenchReport(Strict):
    """Everything one `dreamlite bench` found. `gate_s`: the limit of a warm run's median, if there was one.

    `cases` through the app, `components` through a runner binary (then `app` is null).
    """

    version: Literal[1] = 1
    created: str
    phone: PhoneFacts
    app: AppVersions | None
    host_tools: dict[str, str]
    adb: str
    bundles: Annotated[tuple[BundleIdentity, ...], Field(min_length=1)]
    method: Method
    cases: tuple[Case, ...] = ()
    components: tuple[ComponentCase, ...] = ()
    gate_s: float | None
    gate_passed: bool | None


SCHEMAS: dict[str, type[Strict]] = {
    "run-request.json": RunRequest,
    "run-result.json": RunResult,
    "bench-report.json": BenchReport,
}
"""File name in `schemas/` beside this file -> what it describes."""


def report_json(report: BenchReport) -> dict[str, Any]:
    """As plain data."""
    return report.model_dump(mode="json")


def file_name(report: BenchReport) -> str:
    """`bench-SOC-BUNDLE-DATE.json`: phone, first bundle, when."""
    when = report.created.replace(":", "").replace("+0000", "Z")
    first = report.bundles[0]
    kind = "emulated" if report.phone.emulated else (report.phone.soc or "phone").lower()
    return f"bench-{kind}-{first.backend}-{first.precision}-{first.sha256[:8]}-{when}.json"


def read_report(path: Path) -> BenchReport:
    """A result file; ConfigError when it is missing or no report of this version."""
    try:
        return BenchReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(
            f"{path}: is no benchmark of version {VERSION}: {describe(error)[:400]}. "
            "Give it what `dreamlite bench BUNDLE --json` printed."
        ) from error
