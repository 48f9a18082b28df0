"""The published schema of a benchmark's result file, version 1: what ran, where, how, and every raw sample.

`schemas/bench-report.json` holds it as JSON Schema. Unknown keys are refused, values are never coerced.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from dreamlite_mobile.bundle_fields import Mode, Sha256, Steps
from dreamlite_mobile.bundle_files import describe
from dreamlite_mobile.device.conditions import Seen
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.schema import AppVersions, Milliseconds, RunRequest, RunResult, Seed
from dreamlite_mobile.device.stages import Stage, by_minute, load_stages, stages_of
from dreamlite_mobile.device.stats import Summary, summarise
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
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    tools: dict[str, str]


class Method(Strict):
    """How it was measured. `rounds`: processes for each case, whose turns were dealt in alternating order."""

    runs: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    warm_up: Annotated[int, Field(ge=0)]
    steps: Steps
    seed: Seed
    prompt: str
    instruction: str
    threads: Annotated[int, Field(ge=1)] | None
    cool_down_s: Annotated[float, Field(ge=0)]
    sustain_s: Annotated[float, Field(gt=0)] | None


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

    @model_validator(mode="after")
    def _is_true(self) -> Self:
        if self.exact != (self.psnr_db is None):
            raise ValueError("a picture is exact or has decibels")
        if self.passed and self.psnr_db is not None and self.psnr_db < self.floor_db:
            raise ValueError(f"{self.psnr_db:g} dB pass a floor of {self.floor_db:g} dB")
        return self


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

    @model_validator(mode="after")
    def _follows_from_its_runs(self) -> Self:
        results = [one.result for one in self.rounds]
        timed = [sample for one in results for sample in one.timed]
        if other := {one.mode for one in results} - {self.mode}:
            raise ValueError(f"a round of {self.mode} holds {other.pop()}")
        for what, found, expected in (
            ("cold", self.cold, summarise([one.cold_ms for one in results])),
            ("warm", self.warm, summarise([sample.total_ms for sample in timed])),
            ("load", self.load, load_stages(results)),
            ("stages", self.stages, stages_of(timed)),
        ):
            if not alike(found, expected):
                raise ValueError(f"{what} does not follow from the runs: it was changed by hand")
        peaks = [one.peak_pss_bytes for one in results if one.peak_pss_bytes is not None]
        if self.peak_pss_bytes != max(peaks, default=None):
            raise ValueError("peak_pss_bytes does not follow from the runs: it was changed by hand")
        if self.sustained and not alike(self.sustained, by_minute(results[0])):
            raise ValueError("sustained does not follow from the runs: it was changed by hand")
        return self

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


def alike(found: object, expected: object) -> bool:
    """Whether two summaries are the same but for rounding."""
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)
    if isinstance(found, tuple) and isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(found, Strict) and type(found) is type(expected):
        return all(alike(getattr(found, name), getattr(expected, name)) for name in type(found).model_fields)
    return found == expected


class ComponentRound(Strict):
    """One turn of a method through a runner binary, with the phone as seen before and after it; see `Round`."""

    before: Seen
    after: Seen
    others_share: float | None = None
    cooled_s: float
    cooled: bool
    first_ms: Milliseconds
    samples_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=1)]


class ComponentCase(Strict):
    """One method of one component through a runner binary. Each sample is the mean of `runs_a_sample` runs.

    `first_ms`: the median of the rounds' first runs; `samples_ms`: those of all rounds. Reports of before there were
    `rounds` have none. `snr_db`: the worst outputs against the host's, null for equality or without a host; `passed`
    null without a host.
    """

    bundle: str
    component: str
    method: str
    runner: str
    first_ms: Milliseconds
    samples_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=1)]
    runs_a_sample: Annotated[int, Field(ge=1)]
    warm: Summary
    snr_db: float | None
    floor_db: float
    passed: bool | None
    rounds: tuple[ComponentRound, ...] = ()
    flags: tuple[Flag, ...] = ()

    @model_validator(mode="after")
    def _follows_from_its_runs(self) -> Self:
        if not alike(self.warm, summarise(self.samples_ms)):
            raise ValueError("warm does not follow from samples_ms: it was changed by hand")
        if self.rounds:
            firsts = statistics.median(one.first_ms for one in self.rounds)
            samples = tuple(ms for one in self.rounds for ms in one.samples_ms)
            if not alike((self.first_ms, *self.samples_ms), (firsts, *samples)):
                raise ValueError("first_ms and samples_ms do not follow from the rounds: they were changed by hand")
        if self.passed and self.snr_db is not None and self.snr_db < self.floor_db:
            raise ValueError(f"{self.snr_db:g} dB pass a floor of {self.floor_db:g} dB")
        return self


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
    gate_s: Annotated[float, Field(ge=0)] | None
    gate_passed: bool | None

    @model_validator(mode="after")
    def _is_of_its_bundles(self) -> Self:
        digests = {bundle.name: bundle.sha256 for bundle in self.bundles}
        if len(digests) < len(self.bundles):
            raise ValueError("two bundles have one name")
        for name in (*(case.bundle for case in self.cases), *(part.bundle for part in self.components)):
            if name not in digests:
                raise ValueError(f"{name!r} is none of the bundles")
        for case in self.cases:
            if any(one.result.bundle_sha256 != digests[case.bundle] for one in case.rounds):
                raise ValueError(f"a round of {case.bundle!r} ran another bundle")
            for what in ("steps", "seed"):
                if any(getattr(one.result, what) != getattr(self.method, what) for one in case.rounds):
                    raise ValueError(f"a round of {case.bundle!r} has other {what} than the method says")
        if self.gate_passed != gate_passed(self.cases, self.gate_s):
            raise ValueError("gate_passed does not follow from the runs: it was changed by hand")
        return self


def gate_passed(cases: Sequence[Case], limit_s: float | None) -> bool | None:
    """Whether every mode's median stays within the limit; None without one."""
    return None if limit_s is None else all(case.warm.median <= 1000 * limit_s for case in cases)


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
