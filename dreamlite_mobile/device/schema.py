"""What the host asks of the app on the phone and what the app answers, version 1.

Kotlin mirrors both; `schemas/` holds them as JSON Schema, and a golden request and result that both sides' tests read.
Unknown keys are refused, values are never coerced. Times are milliseconds of a clock that never jumps
(`SystemClock.elapsedRealtimeNanos` on Android); `wall_ms` alone is the time of day.

The app is started with one string extra, `request`: the path of the request on the phone. It writes what it made into
`out`, `result.json` last but one and `done`, which holds the sha256 of `result.json`, last of all. When it cannot do
what it is asked it writes `result.json` with `problem` and without samples, and `done`.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dreamlite_mobile.bundle_fields import Mode, Natural, Sha256, Steps, Text
from dreamlite_mobile.noise import MAX_SEED
from dreamlite_mobile.pipeline import LOADING, STAGES
from dreamlite_mobile.strict import Strict

VERSION = 1
Version = Annotated[int, Field(ge=VERSION, le=VERSION)]
"""Not a Literal, which takes `true` for 1."""
PathOnPhone = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$", max_length=240)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=80)]
PictureSize = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]
"""Width and height in pixels: `512x768`."""
Milliseconds = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Thermal = Annotated[int, Field(ge=0, le=6)]
"""`getCurrentThermalStatus`: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown."""
ROUNDING_MS = 1.0
"""By how much stages may exceed their run: each is rounded for itself."""


class PhoneFile(Strict):
    """A file on the phone and what it must be."""

    file: PathOnPhone
    sha256: Sha256


class RunRequest(Strict):
    """One process of the app: load, one first run, `warm_up` runs, then `runs` timed ones.

    With `sustain_s` timed runs go on until that many seconds have passed, and at least `runs` of them. The picture of
    the first run is kept: every run draws the same one. `bundle_sha256` is of the bundle's `manifest.json`. `size`:
    which of its sizes is drawn; null: the first.
    """

    version: Version = VERSION
    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")]
    bundle: PathOnPhone
    bundle_sha256: Sha256
    mode: Mode
    prompt: Text
    picture: PhoneFile | None = None
    size: PictureSize | None = None
    seed: Seed
    steps: Steps
    warm_up: Annotated[int, Field(ge=0, le=1000)]
    runs: Annotated[int, Field(ge=1, le=10_000)]
    sustain_s: Annotated[float, Field(gt=0)] | None = None
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    out: PathOnPhone

    @model_validator(mode="after")
    def _has_its_picture(self) -> Self:
        if (self.picture is None) != (self.mode == "generate"):
            raise ValueError("an edit has a picture to change, and only an edit")
        return self


class Conditions(Strict):
    """How the phone is; null where it does not say. `headroom`: `PowerManager.getThermalHeadroom`, 1 is throttling."""

    thermal_status: Thermal | None = None
    headroom: Annotated[float, Field(ge=0)] | None = None
    charging: bool | None = None
    battery_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    battery_celsius: float | None = None


class ClockReading(Strict):
    """Both clocks at one moment."""

    monotonic_ms: Milliseconds
    wall_ms: float


class LoadTime(Strict):
    """Reading one method of a component and making it ready, before its first run."""

    component: Text
    method: Text
    ms: Milliseconds


class Sample(Strict):
    """One picture from prompt to pixels. `begin_ms` on the monotonic clock; `stages`: in the components, by name.

    A phone whose memory holds one component at a time loads them again in every run: that is the stage `loading`. What
    is in `total_ms` and in no stage is the app's own work: tokens, noise, scheduler, pixels. `cpu_khz`: the clock
    of each CPU policy after the run, where it can be read.
    """

    kind: Literal["first", "warm_up", "timed"]
    begin_ms: Milliseconds
    total_ms: Annotated[float, Field(gt=0)]
    stages: dict[Text, Milliseconds]
    steps_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=1)]
    conditions: Conditions
    cpu_khz: tuple[Natural, ...] | None = None

    @property
    def host_ms(self) -> float:
        """Outside every component."""
        return max(0.0, self.total_ms - sum(self.stages.values()))

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        known = (*STAGES, LOADING)
        unknown = [name for name in self.stages if name not in known]
        if unknown:
            raise ValueError(f"stage {unknown[0]!r} is not one of {', '.join(known)}")
        for what, parts in (("stages", self.stages.values()), ("steps", self.steps_ms)):
            if sum(parts) > self.total_ms + ROUNDING_MS:
                raise ValueError(f"{what} take {sum(parts):.1f} ms of a run of {self.total_ms:.1f} ms")
        return self


class AppVersions(Strict):
    """What ran: the app itself and the runtimes inside."""

    app: Text
    executorch: Text | None = None
    qnn: Text | None = None


class OutputPicture(Strict):
    """The PNG of the first run, in the request's `out`."""

    file: FileName
    sha256: Sha256


class RunResult(Strict):
    """Everything one process of the app measured; samples in the order they ran."""

    version: Version = VERSION
    id: Text
    bundle_sha256: Sha256
    mode: Mode
    seed: Seed
    steps: Steps
    app: AppVersions
    problem: Text | None = None
    begin: ClockReading
    end: ClockReading
    before: Conditions
    after: Conditions
    load: tuple[LoadTime, ...] = ()
    samples: tuple[Sample, ...] = ()
    peak_pss_bytes: Natural | None = None
    picture: OutputPicture | None = None

    @property
    def cold_ms(self) -> float:
        """From nothing loaded to the first picture, nothing loaded twice."""
        first = self.samples[0]
        return sum(load.ms for load in self.load) + first.total_ms - first.stages.get(LOADING, 0.0)

    @property
    def timed(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.kind == "timed")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.problem is not None:
            return self
        kinds = [sample.kind for sample in self.samples]
        if kinds != sorted(kinds, key=("first", "warm_up", "timed").index) or kinds.count("first") != 1:
            raise ValueError("samples are one first run, then warm-up runs, then timed runs")
        if "timed" not in kinds or self.picture is None or not self.load:
            raise ValueError("load times, a timed run or the picture is missing")
        if any(len(sample.steps_ms) != self.steps for sample in self.samples):
            raise ValueError(f"a run has other than {self.steps} steps")
        for one, two in pairwise(self.samples):
            if one.begin_ms + one.total_ms > two.begin_ms + ROUNDING_MS:
                raise ValueError("runs overlap")
        return self
