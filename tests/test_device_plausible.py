"""Results that cannot be true are refused. Oracle: one honest result, and what each change of it would claim."""

from collections.abc import Callable
from typing import Any

import pytest
from bench_reports import result, sample

from dreamlite_mobile.device.errors import ClockError, DeviceError, ResultError
from dreamlite_mobile.device.plausible import check_answer, check_clock
from dreamlite_mobile.device.schema import RunRequest, RunResult

ELAPSED_S = 1.0
LOADED_MS = 50.0


def honest() -> dict[str, Any]:
    """Three components loaded in 50 ms, a first run, a warm-up run and two timed ones in a row."""
    made = result([sample(110.0, kind="warm_up"), sample(100.0), sample(102.0)]).model_dump(mode="json")
    for one in made["samples"]:
        one["begin_ms"] += LOADED_MS
    made["end"]["monotonic_ms"] += LOADED_MS
    made["end"]["wall_ms"] += LOADED_MS
    names = (("text_encoder", "generate"), ("unet", "generate"), ("vae_decoder", "forward"))
    made["load"] = [{"component": name, "method": method, "ms": 15.0} for name, method in names]
    return made


def request_for(**changes: object) -> RunRequest:
    values = {
        "id": "generate-1", "bundle": "/data/bundle", "bundle_sha256": "ab" * 32, "mode": "generate", "prompt": "a",
        "seed": 7, "steps": 2, "warm_up": 1, "runs": 2, "out": "/data/out",
    }  # fmt: skip
    return RunRequest.model_validate({**values, **changes})


def check(document: dict[str, Any], request: RunRequest | None = None) -> None:
    """As the host does when a result came."""
    import json

    found = RunResult.model_validate_json(json.dumps(document))
    check_answer("phone: result.json", request or request_for(), found)
    check_clock("phone", found, ELAPSED_S)


def test_an_honest_result_passes() -> None:
    check(honest())


def shrink(document: dict[str, Any]) -> None:
    """Every time of every run a million times shorter: a gate would be passed at 0.0 ms."""
    for one in document["samples"]:
        one["total_ms"] /= 1e6
        one["stages"] = {name: ms / 1e6 for name, ms in one["stages"].items()}
        one["steps_ms"] = [ms / 1e6 for ms in one["steps_ms"]]


def slow_clock(document: dict[str, Any]) -> None:
    """The clock of durations ticks a hundred times too slowly; the time of day is right."""
    shrink(document)
    for one in document["samples"]:
        one["total_ms"] *= 1e4
        one["stages"] = {name: ms * 1e4 for name, ms in one["stages"].items()}
        one["steps_ms"] = [ms * 1e4 for ms in one["steps_ms"]]
        one["begin_ms"] /= 100
    document["load"] = [{**one, "ms": one["ms"] / 100} for one in document["load"]]
    document["end"]["monotonic_ms"] /= 100


def late(document: dict[str, Any]) -> None:
    for one in document["samples"]:
        one["begin_ms"] += 10_000


def early(document: dict[str, Any]) -> None:
    document["begin"]["monotonic_ms"] = 100.0


def long_after(document: dict[str, Any]) -> None:
    """A hundred seconds of which half a second is accounted for."""
    document["end"]["monotonic_ms"] += 100_000
    document["end"]["wall_ms"] += 100_000


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (shrink, ClockError, "claims a picture in 0.0001 ms"),
        (slow_clock, ClockError, "its clock runs wrong"),
        (late, ClockError, "its clock jumped"),
        (early, ClockError, "its clock jumped"),
        (lambda one: one["load"][0].update(ms=1e12), ClockError, "of loading in the 0.1 s before"),
        (lambda one: one["load"][0].update(component="banana"), ResultError, "loaded banana, unet, vae_decoder"),
        (lambda one: one["load"].pop(), ResultError, "generate needs text_encoder, unet, vae_decoder"),
        (lambda one: one["samples"][2].update(stages={}), ResultError, "run 3: says no time of text_encoder, unet"),
        (lambda one: one["samples"][1].update(steps_ms=[0.0, 0.0]), ResultError, "in steps of together 0.0 ms"),
        (lambda one: one["samples"][1].update(steps_ms=[1.0, 2.0]), ResultError, "66.0 ms in steps of together 3.0"),
    ],
)
def test_times_that_cannot_be_true_are_refused(
    change: Callable[[dict[str, Any]], object], kind: type[DeviceError], said: str
) -> None:
    document = honest()
    change(document)
    with pytest.raises(kind, match=said):
        check(document)


def test_a_process_is_mostly_its_runs() -> None:
    import json

    document = honest()
    long_after(document)
    with pytest.raises(ClockError, match=r"the runs take 0\.5 s of the 100\.5 s"):
        check_clock("phone", RunResult.model_validate_json(json.dumps(document)), 101.0)


def test_a_time_of_day_that_jumped_is_only_flagged() -> None:
    """More time by it than passed here: the other clock is right."""
    document = honest()
    document["end"]["wall_ms"] += 3_600_000
    check(document)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"warm_up": 2}, "holds 1 warm-up runs, asked were 2"),
        ({"warm_up": 0}, "holds 1 warm-up runs, asked were 0"),
        ({"runs": 3}, "holds 2 timed runs, asked were 3"),
        ({"runs": 1}, "holds 2 timed runs, asked were 1"),
        ({"runs": 1, "sustain_s": 60.0}, "its runs end after 0.5 s, asked were 60 s"),
    ],
)
def test_the_answer_is_to_what_was_asked(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ResultError, match=said):
        check(honest(), request_for(**asked))


def test_a_sustained_run_may_hold_more_runs_than_asked() -> None:
    check(honest(), request_for(runs=1, sustain_s=0.4))
