"""Where the time went, from the raw samples: components, steps, the app's own work, loading, minutes."""

import statistics
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from dreamlite_mobile.device.schema import RunResult, Sample
from dreamlite_mobile.pipeline import LOADING, STAGES
from dreamlite_mobile.strict import Strict

OWN_WORK = "host work"
UNET = "unet"
_MINUTE_MS = 60_000.0


class Stage(Strict):
    """Where the time of a warm run goes: the median of its share of every timed run."""

    name: str
    ms: Annotated[float, Field(ge=0)]
    share: Annotated[float, Field(ge=0)]


def stages_of(samples: Sequence[Sample]) -> tuple[Stage, ...]:
    """Components in the order they run, each step of the U-Net by itself, then the app's own work.

    A step also holds the scheduler's arithmetic, which is why the U-Net's own time is dealt over the steps.
    """
    whole = statistics.median(sample.total_ms for sample in samples)
    parts: dict[str, float] = {}
    for name in (*STAGES, LOADING):
        values = [sample.stages[name] for sample in samples if name in sample.stages]
        if name == UNET and values:
            parts |= {f"{UNET} step {index + 1}": ms for index, ms in enumerate(unet_steps(samples))}
        elif values:
            parts[name] = statistics.median(values)
    parts[OWN_WORK] = statistics.median(sample.host_ms for sample in samples)
    return tuple(Stage(name=name, ms=ms, share=ms / whole) for name, ms in parts.items())


def unet_steps(samples: Sequence[Sample]) -> list[float]:
    """Median milliseconds of the U-Net in each step."""
    rows = []
    for sample in samples:
        together = sum(sample.steps_ms)
        scale = sample.stages.get(UNET, 0.0) / together if together else 0.0
        rows.append([ms * scale for ms in sample.steps_ms])
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def load_stages(results: Sequence[RunResult]) -> tuple[Stage, ...]:
    """Median milliseconds of loading each component, as shares of the cold start."""
    cold = statistics.median(one.cold_ms for one in results)
    times: dict[str, list[float]] = {}
    for one in results:
        for load in one.load:
            times.setdefault(f"{load.component}.{load.method}", []).append(load.ms)
    return tuple(
        Stage(name=name, ms=statistics.median(values), share=statistics.median(values) / cold)
        for name, values in times.items()
    )


def by_minute(one: RunResult) -> tuple[float, ...]:
    """Median milliseconds of a run in each minute that the phone worked without a pause."""
    samples = one.timed
    first = samples[0].begin_ms
    minutes: dict[int, list[float]] = {}
    for sample in samples:
        minutes.setdefault(int((sample.begin_ms - first) // _MINUTE_MS), []).append(sample.total_ms)
    return tuple(statistics.median(minutes[number]) for number in sorted(minutes))
