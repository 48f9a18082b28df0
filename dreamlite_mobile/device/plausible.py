"""Whether a result can be true: it answers what was asked, and its times fit each other and what passed here.

Two clocks of the phone and one of this machine measure the same process. A claim that all three cannot hold is refused:
a number that passes a gate must have taken time.
"""

from dreamlite_mobile.components import COMPONENTS, EDIT_ONLY
from dreamlite_mobile.device.errors import ClockError, ResultError
from dreamlite_mobile.device.schema import ROUNDING_MS, RunRequest, RunResult, Sample

CLOCK_SHARE = 0.05
CLOCK_SLACK_S = 1.0
"""The phone may claim this share more time than passed here, and this much besides: clocks differ by parts per million,
polling by less than the slack."""
LEAST_MS = 1.0
"""Of a whole picture: the tiny checkpoint takes tens of milliseconds on any machine."""
BETWEEN_S = 5.0
BETWEEN_RUN_S = 0.5
"""What may pass outside the runs from the first one on, and besides for each: a PNG is written, conditions are read."""
SUSTAIN_SLACK_MS = 100.0
"""Between the app's look at the clock and the begin of the run that it belongs to."""
SLOW_CLOCK = 0.5
"""Of the time of day that passed in a process: less on the other clock, and one of the two is wrong."""


def check_answer(where: str, request: RunRequest, result: RunResult) -> None:
    """Refuse (ResultError) a result of something else than was asked, or with parts missing."""
    for name in ("id", "bundle_sha256", "mode", "seed", "steps"):
        if getattr(result, name) != getattr(request, name):
            raise ResultError(
                f"{where}: answers {name} {getattr(result, name)!a}, asked was {getattr(request, name)!a}"
            )
    check_runs(where, request, result)
    needed = components_of(request)
    loaded = [load.component for load in result.load]
    if set(loaded) != set(needed):
        raise ResultError(f"{where}: loaded {', '.join(loaded)}, {request.mode} needs {', '.join(needed)}")
    for number, sample in enumerate(result.samples, 1):
        check_stages(f"{where}: run {number}", needed, sample)


def check_runs(where: str, request: RunRequest, result: RunResult) -> None:
    """As many runs of each kind as were asked for, and as long."""
    timed, warm_up = len(result.timed), sum(sample.kind == "warm_up" for sample in result.samples)
    if warm_up != request.warm_up:
        raise ResultError(f"{where}: holds {warm_up} warm-up runs, asked were {request.warm_up}")
    if timed < request.runs or (timed > request.runs and request.sustain_s is None):
        raise ResultError(f"{where}: holds {timed} timed runs, asked were {request.runs}")
    lasted = result.samples[-1].begin_ms + result.samples[-1].total_ms - result.samples[0].begin_ms
    if request.sustain_s is not None and lasted < 1000 * request.sustain_s - SUSTAIN_SLACK_MS:
        raise ResultError(f"{where}: its runs end after {lasted / 1000:.1f} s, asked were {request.sustain_s:g} s")


def components_of(request: RunRequest) -> list[str]:
    """What a picture of the mode needs."""
    return [name for name in COMPONENTS if request.mode == "edit" or name not in EDIT_ONLY]


def check_stages(where: str, needed: list[str], sample: Sample) -> None:
    """Every component took time in a run, the U-Net within the steps."""
    idle = [name for name in needed if not sample.stages.get(name)]
    if idle:
        raise ResultError(f"{where}: says no time of {', '.join(idle)}")
    unet, steps = sample.stages["unet"], sum(sample.steps_ms)
    if min(sample.steps_ms) <= 0 or unet > steps + ROUNDING_MS:
        raise ResultError(f"{where}: the U-Net takes {unet:.1f} ms in steps of together {steps:.1f} ms")


def check_clock(serial: str, result: RunResult, elapsed_s: float) -> None:
    """Refuse (ClockError) times that cannot be true; `elapsed_s` passed here."""
    begin, end = result.begin.monotonic_ms, result.end.monotonic_ms
    claimed, spent = (end - begin) / 1000, sum(sample.total_ms for sample in result.samples) / 1000
    if not 0 <= spent <= claimed + CLOCK_SLACK_S:
        raise ClockError(
            f"{serial}: the runs take {spent:.1f} s of a process of {claimed:.1f} s: its clock jumped. Run it again."
        )
    if claimed > elapsed_s * (1 + CLOCK_SHARE) + CLOCK_SLACK_S:
        raise ClockError(
            f"{serial}: claims {claimed:.1f} s for what took {elapsed_s:.1f} s here: its clock runs wrong. Restart it."
        )
    by_day = (result.end.wall_ms - result.begin.wall_ms) / 1000
    if claimed < SLOW_CLOCK * by_day and by_day <= elapsed_s * (1 + CLOCK_SHARE) + CLOCK_SLACK_S:
        raise ClockError(
            f"{serial}: claims {claimed:.2f} s for what took {by_day:.2f} s by its time of day and {elapsed_s:.1f} s "
            "here: its clock runs wrong. Restart it."
        )
    check_places(serial, result)
    check_spent(serial, result, spent)


def check_places(serial: str, result: RunResult) -> None:
    """Loading and runs lie within the process, one after the other."""
    begin, end = result.begin.monotonic_ms, result.end.monotonic_ms
    first, last = result.samples[0], result.samples[-1]
    if first.begin_ms < begin - ROUNDING_MS or last.begin_ms + last.total_ms > end + ROUNDING_MS:
        raise ClockError(
            f"{serial}: runs from {first.begin_ms:.0f} to {last.begin_ms + last.total_ms:.0f} ms of a process from "
            f"{begin:.0f} to {end:.0f} ms: its clock jumped. Run it again."
        )
    loaded = sum(load.ms for load in result.load)
    if loaded > first.begin_ms - begin + 1000 * CLOCK_SLACK_S:
        raise ClockError(
            f"{serial}: claims {loaded / 1000:.1f} s of loading in the {(first.begin_ms - begin) / 1000:.1f} s before "
            "the first run. Run it again."
        )


def check_spent(serial: str, result: RunResult, spent_s: float) -> None:
    """No run without time, and no time without runs."""
    least = min(sample.total_ms for sample in result.samples)
    if least < LEAST_MS:
        raise ClockError(f"{serial}: claims a picture in {least:.3g} ms, which no machine draws. Install the app anew.")
    lasted = (result.end.monotonic_ms - result.samples[0].begin_ms) / 1000
    if lasted - spent_s > BETWEEN_S + BETWEEN_RUN_S * len(result.samples):
        raise ClockError(
            f"{serial}: the runs take {spent_s:.1f} s of the {lasted:.1f} s from the first to the end. Run it again."
        )
