"""Benchmark results made up of round numbers."""

from collections.abc import Sequence

from dreamlite_mobile.device.conditions import Seen
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.report import (
    BenchReport,
    BundleIdentity,
    Case,
    Correctness,
    Flag,
    Method,
    Round,
)
from dreamlite_mobile.device.schema import (
    AppVersions,
    ClockReading,
    Conditions,
    LoadTime,
    OutputPicture,
    RunResult,
    Sample,
)
from dreamlite_mobile.device.stages import load_stages, stages_of
from dreamlite_mobile.device.stats import summarise

STEPS = 2


def conditions(thermal: int = 0, charging: bool = False, celsius: float = 30.0) -> Conditions:
    return Conditions(thermal_status=thermal, charging=charging, battery_percent=80, battery_celsius=celsius)


def seen(thermal: int = 0, charging: bool = False, celsius: float = 30.0, busy: float = 0.02) -> Seen:
    return Seen(conditions=conditions(thermal, charging, celsius), powered=charging, busy_share=busy)


def sample(total: float, thermal: int = 0, begin: float = 0.0, kind: str = "timed") -> Sample:
    """A tenth in the text encoder, three in each of two steps, two in the decoder, a tenth of the app's own."""
    return Sample.model_validate(
        {
            "kind": kind,
            "begin_ms": begin,
            "total_ms": total,
            "stages": {"text_encoder": 0.1 * total, "unet": 0.6 * total, "vae_decoder": 0.2 * total},
            "steps_ms": (0.31 * total, 0.31 * total),
            "conditions": conditions(thermal),
            "cpu_khz": (3302400,),
        }
    )


def result(timed: Sequence[Sample], wall_jump: float = 0.0, mode: str = "generate") -> RunResult:
    """As one process of the app gave it; the runs one after the other."""
    placed, clock = [], 0.0
    for one in (sample(150.0, kind="first"), *timed):
        clock = max(clock, one.begin_ms)
        placed.append(one.model_copy(update={"begin_ms": clock}))
        clock += one.total_ms
    return RunResult(
        id="generate-1",
        bundle_sha256="ab" * 32,
        mode=mode,
        seed=7,
        steps=STEPS,
        app=AppVersions(app="0.1.0", executorch="1.5.1"),
        begin=ClockReading(monotonic_ms=0.0, wall_ms=1e12),
        end=ClockReading(monotonic_ms=clock, wall_ms=1e12 + clock + wall_jump),
        before=conditions(),
        after=conditions(),
        load=(LoadTime(component="unet", method=mode, ms=50.0),),
        samples=tuple(placed),
        peak_pss_bytes=10**9,
        picture=OutputPicture(file="picture.png", sha256="cd" * 32),
    )


def round_of(
    timed: Sequence[Sample],
    before: Seen | None = None,
    after: Seen | None = None,
    cooled: bool = True,
    wall_jump: float = 0.0,
) -> Round:
    return Round(
        before=before or seen(),
        result=result(timed, wall_jump),
        after=after or seen(),
        cooled_s=0.0 if cooled else 300.0,
        cooled=cooled,
    )


def bench_case(
    warm: Sequence[float], mode: str = "generate", psnr: float | None = None, rounds_of: int | None = None
) -> Case:
    """The runs dealt over rounds of `rounds_of` runs, or all in one; `psnr` None is an equal picture."""
    size = rounds_of or len(warm)
    rounds = tuple(
        Round(
            before=seen(),
            result=result([sample(ms) for ms in warm[begin : begin + size]], mode=mode),
            after=seen(),
            cooled_s=0.0,
            cooled=True,
        )
        for begin in range(0, len(warm), size)
    )
    right = Correctness(psnr_db=psnr, floor_db=50.0, exact=psnr is None, reference="host", passed=psnr is None)
    return Case(
        bundle="bundle",
        mode=mode,
        rounds=rounds,
        cold=summarise([one.result.cold_ms for one in rounds]),
        warm=summarise(warm),
        load=load_stages([one.result for one in rounds]),
        stages=stages_of([one for round_ in rounds for one in round_.result.timed]),
        peak_pss_bytes=10**9,
        correctness=right,
        flags=(Flag(kind="noisy", text="made up"),) if psnr is not None else (),
    )


def bench_report(cases: Sequence[Case] = (), gate_s: float | None = None) -> BenchReport:
    found = tuple(cases) or (bench_case([100.0] * 5),)
    return BenchReport(
        created="2026-01-02T03:04:05+00:00",
        phone=PhoneFacts(
            serial="abc",
            model="Xiaomi 14",
            soc="SM8650",
            soc_from="ro.soc.model",
            android="14",
            sdk=34,
            abis=("arm64-v8a",),
            fingerprint="Xiaomi/houji",
            ram_bytes=12 * 10**9,
            free_bytes=10**11,
            zones=(),
            governors={"policy0": "walt"},
            max_khz={"policy0": 2265600},
        ),
        app=AppVersions(app="0.1.0"),
        host_tools={"python": "3.11"},
        adb="server 1.0.41",
        bundles=(
            BundleIdentity(
                name="bundle", sha256="ab" * 32, checkpoint="tiny", checkpoint_sha256="cd" * 32, backend="xnnpack",
                target="cpu", precision="fp32", width=64, height=64, tools={"torch": "2.13.0"},
            ),
        ),
        method=Method(
            runs=5, rounds=1, warm_up=0, steps=STEPS, seed=7, prompt="a", instruction="b", threads=None,
            cool_down_s=300.0, sustain_s=None,
        ),
        cases=found,
        gate_s=gate_s,
        gate_passed=None if gate_s is None else all(case.warm.median <= 1000 * gate_s for case in found),
    )  # fmt: skip
