"""Components one by one through a runner binary, by the method of whole pictures: in turns, cooled down, watched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.device.bench import COOL, PAUSE_S, dealt
from dreamlite_mobile.device.company import WINDOW_S, watched
from dreamlite_mobile.device.conditions import cool_down, look
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.flags import component_flags
from dreamlite_mobile.device.report import ComponentCase, ComponentRound, Method
from dreamlite_mobile.device.runner import Part, Ran, Runner, push_inputs, run_part
from dreamlite_mobile.device.stats import summarise
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime import Component

Host = Callable[[str], Component]
"""Gives a component of a bundle to compare the outputs with."""


@dataclass(slots=True)
class Taken:
    """What the rounds of one part gave; equal outputs once."""

    rounds: list[ComponentRound] = field(default_factory=list)
    outputs: set[tuple[bytes, ...]] = field(default_factory=set)


def measure_parts(
    runner: Runner,
    parts: Sequence[Part],
    method: Method,
    tell: Callable[[str], None] = lambda _: None,
    window_s: float = WINDOW_S,
) -> dict[Part, Taken]:
    """Every part in every round, reversed in every other; `window_s` between looks at what else the phone does.

    The runs of `qnn_executor_runner` are dealt over the rounds. Each process of `executor_runner` does all of them, as
    its only sample is their mean, whose first run is cold.

    Raises:
        RunnerError, LinkLostError: as `run_part`.
    """
    for part in parts:
        push_inputs(runner, part)
    found = {part: Taken() for part in parts}
    for number, runs in enumerate(dealt(method)):
        for part in parts if number % 2 == 0 else reversed(parts):
            tell(f"{part.bundle}: {part.component}.{part.method} through {runner.name}, round {number + 1}")
            one, ran = take_turn(runner, part, method, runs if runner.takes_list else method.runs, tell, window_s)
            found[part].rounds.append(one)
            found[part].outputs.add(ran.outputs)
    return found


def take_turn(
    runner: Runner, part: Part, method: Method, runs: int, tell: Callable[[str], None], window_s: float
) -> tuple[ComponentRound, Ran]:
    """Cool down, look, run, look."""
    waited, cooled = cool_down(runner.link, COOL, method.cool_down_s, PAUSE_S, tell)
    before = look(runner.link)
    with watched(runner.link, runner.name, window_s) as company:
        ran = run_part(runner, part, method.warm_up, runs, method.threads)
    one = ComponentRound(
        before=before,
        after=look(runner.link),
        others_share=company.share,
        cooled_s=waited,
        cooled=cooled,
        first_ms=ran.first_ms,
        samples_ms=ran.samples_ms,
    )
    return one, ran


def component_cases(
    runner: Runner,
    taken: Mapping[Part, Taken],
    bundles: Mapping[str, Bundle],
    hosts: Mapping[str, Host],
    method: Method,
    phone: PhoneFacts,
) -> list[ComponentCase]:
    """Times, flags and, for the bundles that `hosts` can run, how far the worst outputs are from this machine's."""
    found = []
    for part, one in taken.items():
        manifest = bundles[part.bundle].manifest
        least = floor(manifest.components[part.component].precision, manifest.backend).component_snr_db
        worst = worst_snr(part, one, hosts[part.bundle]) if part.bundle in hosts else None
        samples = tuple(ms for round_ in one.rounds for ms in round_.samples_ms)
        found.append(
            ComponentCase(
                bundle=part.bundle,
                component=part.component,
                method=part.method,
                runner=runner.name,
                first_ms=float(np.median([round_.first_ms for round_ in one.rounds])),
                samples_ms=samples,
                runs_a_sample=1 if runner.takes_list else method.runs,
                warm=summarise(samples),
                snr_db=worst if worst is not None and np.isfinite(worst) else None,
                floor_db=least,
                passed=None if worst is None else bool(worst >= least),
                rounds=tuple(one.rounds),
                flags=component_flags(one.rounds, phone),
            )
        )
    return found


def worst_snr(part: Part, taken: Taken, host: Host) -> float:
    """Decibels of the worst output of any round; infinite where all are equal."""
    expected = host(part.component).run(part.method, part.inputs)
    return min(
        compare(np.frombuffer(data, "<f4").reshape(tensor.shape), expected[tensor.name]).snr_db
        for outputs in taken.outputs
        for data, tensor in zip(outputs, part.spec.outputs, strict=True)
    )
