"""The method: cases in turns, each turn one process of the app, with the phone cooled down before and looked at around.

Warm runs of one process share caches, clocks and heat, so the runs of a case are dealt over several rounds; in every
other round the cases come in reverse, so that a phone that warms up does not favour what comes first.
"""

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_fields import Mode
from dreamlite_mobile.components import size_text
from dreamlite_mobile.device.app_run import Answer, App, push_picture
from dreamlite_mobile.device.conditions import cool_down, look
from dreamlite_mobile.device.correctness import judge_picture, source_for
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.flags import flags_of
from dreamlite_mobile.device.places import output_folder
from dreamlite_mobile.device.push import manifest_sha256
from dreamlite_mobile.device.report import Case, Correctness, Method, Round
from dreamlite_mobile.device.schema import PhoneFile, RunRequest
from dreamlite_mobile.device.stages import by_minute, load_stages, stages_of
from dreamlite_mobile.device.stats import summarise

COOL = 0
"""Thermal status "none"."""
PAUSE_S = 5.0
"""Between looks at the thermal status."""

Reference = Callable[[Bundle, Mode], tuple[Image.Image, str]]
"""Draws what a bundle's picture should be, and says what drew it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: bundles with the folders that they were pushed to, modes, method.

    `source`: the picture to edit; None for the drawn one in each bundle's size.
    """

    bundles: Mapping[str, tuple[Bundle, str]]
    modes: tuple[Mode, ...]
    method: Method
    source: Image.Image | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The picture that a case is judged by, and the host's; None where it is not compared."""

    bundle: str
    mode: Mode
    found: Image.Image
    expected: Image.Image | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One process of the app."""

    bundle: str
    mode: Mode
    runs: int


def dealt(method: Method) -> list[int]:
    """Runs of each round: as even as can be, the first get the rest."""
    rounds = min(method.rounds, method.runs)
    return [method.runs // rounds + (number < method.runs % rounds) for number in range(rounds)]


def turns(names: Sequence[str], modes: Sequence[Mode], method: Method) -> list[Turn]:
    """Every case in every round, reversed in every other."""
    cases = [(name, mode) for name in names for mode in modes]
    found = []
    for number, runs in enumerate(dealt(method)):
        found += [Turn(name, mode, runs) for name, mode in (cases if number % 2 == 0 else cases[::-1])]
    return found


def measure(
    app: App,
    plan: Plan,
    phone: PhoneFacts,
    reference: Reference | None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Case], list[Drawn]]:
    """Run every turn, then draw the host's pictures and judge.

    Raises:
        DeviceError: whatever goes wrong with phone, app or result; nothing is retried but a lost link.
    """
    sources = push_sources(app, plan)
    found: dict[tuple[str, Mode], list[tuple[Round, Answer]]] = {}
    order = turns(tuple(plan.bundles), plan.modes, plan.method)
    for number, turn in enumerate(order, 1):
        tell(f"{turn.bundle}, {turn.mode}: {turn.runs} runs (turn {number} of {len(order)})")
        request = request_of(app, plan, turn, sources.get(turn.bundle))
        found.setdefault((turn.bundle, turn.mode), []).append(take_turn(app, request, plan.method, tell))
    judged = {
        key: judge(plan.bundles[key[0]][0], key, [answer.picture for _, answer in taken], reference)
        for key, taken in found.items()
    }
    cases = [case_of(plan, key, [one for one, _ in taken], phone, judged[key][0]) for key, taken in found.items()]
    return cases, [drawn for _, drawn in judged.values()]


def push_sources(app: App, plan: Plan) -> dict[str, PhoneFile]:
    """The picture that each bundle edits, on the phone."""
    if "edit" not in plan.modes:
        return {}
    pushed = {}
    for name, (bundle, _) in plan.bundles.items():
        path, digest = push_picture(app.link, source_for(bundle, plan.source))
        pushed[name] = PhoneFile(file=path, sha256=digest)
    return pushed


def request_of(app: App, plan: Plan, turn: Turn, picture: PhoneFile | None) -> RunRequest:
    """What the app is asked."""
    bundle, folder = plan.bundles[turn.bundle]
    method, name = plan.method, f"{turn.mode}-{secrets.token_hex(6)}"
    return RunRequest(
        id=name,
        bundle=folder,
        bundle_sha256=manifest_sha256(bundle),
        mode=turn.mode,
        prompt=method.prompt if turn.mode == "generate" else method.instruction,
        picture=picture if turn.mode == "edit" else None,
        size=None if bundle.chosen is None else size_text(bundle.chosen),
        seed=method.seed,
        steps=method.steps,
        warm_up=method.warm_up,
        runs=turn.runs,
        sustain_s=method.sustain_s,
        threads=method.threads,
        out=output_folder(app.package, name),
    )


def take_turn(app: App, request: RunRequest, method: Method, tell: Callable[[str], None]) -> tuple[Round, Answer]:
    """Cool down until nothing is throttled, however the phone was at the start; look, run, look."""
    waited, cooled = cool_down(app.link, COOL, method.cool_down_s, PAUSE_S, tell)
    before = look(app.link)
    answer = app.run(request, tell)
    after = look(app.link)
    one = Round(
        before=before,
        result=answer.result,
        after=after,
        others_share=answer.others_share,
        cooled_s=waited,
        cooled=cooled,
    )
    return one, answer


def case_of(
    plan: Plan, key: tuple[str, Mode], rounds: Sequence[Round], phone: PhoneFacts, correctness: Correctness | None
) -> Case:
    """What the rounds of one case say together."""
    name, mode = key
    timed = [sample for one in rounds for sample in one.result.timed]
    peaks = [one.result.peak_pss_bytes for one in rounds if one.result.peak_pss_bytes is not None]
    return Case(
        bundle=name,
        mode=mode,
        rounds=tuple(rounds),
        cold=summarise([one.result.cold_ms for one in rounds]),
        warm=summarise([sample.total_ms for sample in timed]),
        load=load_stages([one.result for one in rounds]),
        stages=stages_of(timed),
        sustained=by_minute(rounds[0].result) if plan.method.sustain_s is not None else (),
        peak_pss_bytes=max(peaks, default=None),
        correctness=correctness,
        flags=flags_of(rounds, phone),
    )


def judge(
    bundle: Bundle, key: tuple[str, Mode], pictures: Sequence[Image.Image], reference: Reference | None
) -> tuple[Correctness | None, Drawn]:
    """The worst picture of all rounds beside the host's; the first one, without a verdict, without a reference."""
    name, mode = key
    if reference is None:
        return None, Drawn(name, mode, pictures[0], None)
    expected, what = reference(bundle, mode)
    found = [(judge_picture(picture, expected, bundle.manifest, what), picture) for picture in pictures]
    verdict, worst = min(found, key=lambda one: (one[0].passed, psnr_of(one[0])))
    return verdict, Drawn(name, mode, worst, expected)


def psnr_of(verdict: Correctness) -> float:
    """Infinite for an equal picture."""
    return math.inf if verdict.psnr_db is None else verdict.psnr_db
