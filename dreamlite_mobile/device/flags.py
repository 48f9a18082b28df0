"""What makes a measurement less than it seems: said beside the numbers, never hidden, never a reason to drop a run."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from dreamlite_mobile.device.conditions import STATUS_NAMES, Seen
from dreamlite_mobile.device.facts import PhoneFacts
from dreamlite_mobile.device.report import ComponentRound, Flag, Round
from dreamlite_mobile.device.schema import Conditions
from dreamlite_mobile.device.stats import summarise

THROTTLING = 1
"""Thermal status "light": Android begins to slow clocks from here on."""
HOT_CELSIUS = 40.0
"""Of the battery: phones hold back charging and clocks from about here."""
BUSY_SHARE = 0.25
"""Of all CPUs, by others than us."""
HEADROOM = 1.0
"""Of `getThermalHeadroom`: from here on Android throttles, whatever the status says."""
SLOWED_CLOCK = 0.5
"""Of the fastest CPU's clock after any run of the round: below it, something held all of them back."""
NOISY = 0.10
"""Coefficient of variation of the warm runs."""
SLOWING = 1.05
"""Median of the last third of a round's runs over that of its first third."""
CLOCK_JUMP_MS = 500.0
"""Between the two clocks of the phone over one process."""
_MIN_THIRDS = 6


def flags_of(rounds: Sequence[Round], phone: PhoneFacts) -> tuple[Flag, ...]:
    """Everything noticed in the rounds of one case, each kind once."""
    noticed = (flag for number, one in enumerate(rounds, 1) for flag in round_flags(number, one))
    taken = [sample.total_ms for one in rounds for sample in one.result.timed]
    return first_of_each(chain(phone_flags(phone), noticed, sample_flags(taken)))


def component_flags(rounds: Sequence[ComponentRound], phone: PhoneFacts) -> tuple[Flag, ...]:
    """The same of a component through a runner, which says nothing of clocks and heat itself."""
    noticed = (
        flag for number, one in enumerate(rounds, 1) for flag in (*heat_flags(number, one), *outside_flags(number, one))
    )
    taken = [ms for one in rounds for ms in one.samples_ms]
    return first_of_each(chain(phone_flags(phone), noticed, sample_flags(taken)))


def first_of_each(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """Of several of a kind only the first."""
    found: dict[str, Flag] = {}
    for flag in flags:
        found.setdefault(flag.kind, flag)
    return tuple(found.values())


def phone_flags(phone: PhoneFacts) -> Iterator[Flag]:
    """What holds for everything measured on it."""
    if phone.emulated:
        yield Flag(kind="emulated", text="an emulated phone: the times are those of the machine it runs on")
    if phone.soc_from is not None and phone.soc_from.startswith("guessed"):
        yield Flag(kind="guessed", text=f"the chip is {phone.soc_from}")


def round_flags(number: int, one: Round) -> Iterator[Flag]:
    """Heat, cable, company, clock of one process."""
    yield from heat_flags(number, one)
    yield from outside_flags(number, one)
    yield from app_flags(number, one)
    begin, end = one.result.begin, one.result.end
    jump = (end.wall_ms - begin.wall_ms) - (end.monotonic_ms - begin.monotonic_ms)
    if abs(jump) > CLOCK_JUMP_MS:
        text = f"round {number}: the time of day jumped by {jump / 1000:+.1f} s while it ran"
        yield Flag(kind="clock", text=f"{text}; durations are of the other clock")
    if (share := slowing(one)) > SLOWING:
        yield Flag(kind="slowing", text=f"round {number}: the last third of the runs took {share:.2f} times the first")


def outside_flags(number: int, one: Round | ComponentRound) -> Iterator[Flag]:
    """What the host saw: cable and company around it, others at work while it ran."""
    for seen in (one.before, one.after):
        yield from company_flags(number, seen)
    yield from storm_flags(number, one)


def moments(one: Round | ComponentRound) -> tuple[list[Conditions], list[Conditions]]:
    """Conditions before a process, and during and after it, as the host and the app saw them."""
    before, after = [one.before.conditions], [one.after.conditions]
    if isinstance(one, ComponentRound):
        return before, after
    during = [sample.conditions for sample in one.result.samples]
    return [*before, one.result.before], [*during, one.result.after, *after]


def heat_flags(number: int, one: Round | ComponentRound) -> Iterator[Flag]:
    """The highest status that the host or the app saw, and a battery that is hot."""
    before, during = moments(one)
    worst = max((seen.thermal_status or 0 for seen in (*before, *during)), default=0)
    if worst >= THROTTLING:
        when = (
            "already before it" if any((seen.thermal_status or 0) >= THROTTLING for seen in before) else "while it ran"
        )
        yield Flag(kind="throttling", text=f"round {number}: thermal status {STATUS_NAMES[worst]}, {when}")
    if not one.cooled:
        yield Flag(kind="hot", text=f"round {number}: began hot, after {one.cooled_s:.0f} s of cooling down")
    celsius = max((seen.battery_celsius or 0.0 for seen in (*before, *during)), default=0.0)
    if celsius >= HOT_CELSIUS:
        yield Flag(kind="hot", text=f"round {number}: the battery was at {celsius:.1f} degrees")


def app_flags(number: int, one: Round) -> Iterator[Flag]:
    """What the app saw between the runs, where the host could not look."""
    seen_by_app = [one.result.before, *(sample.conditions for sample in one.result.samples), one.result.after]
    if any(seen.charging for seen in seen_by_app):
        yield Flag(kind="charging", text=f"round {number}: the phone was charging while it ran, which heats it")
    headroom = max((seen.headroom or 0.0 for seen in seen_by_app), default=0.0)
    if headroom >= HEADROOM:
        yield Flag(kind="throttling", text=f"round {number}: thermal headroom {headroom:.2f}, from 1 on it throttles")
    if (share := slowest_clock(one)) < SLOWED_CLOCK:
        yield Flag(kind="throttling", text=f"round {number}: a CPU clock fell to {share:.0%} of its highest")


def slowest_clock(one: Round) -> float:
    """The fastest CPU's clock after the slowest run over that after the fastest; 1 where nothing is known."""
    clocks = [max(sample.cpu_khz) for sample in one.result.timed if sample.cpu_khz]
    return min(clocks) / max(clocks) if clocks and max(clocks) > 0 else 1.0


def company_flags(number: int, seen: Seen) -> Iterator[Flag]:
    """What else the phone was doing."""
    if seen.conditions.charging:
        yield Flag(kind="charging", text=f"round {number}: the phone was charging, which heats it")
    elif seen.powered:
        yield Flag(kind="charging", text=f"round {number}: the phone was on a cable that gives it power")
    if seen.busy_share is not None and seen.busy_share > BUSY_SHARE:
        text = f"round {number}: something else used {seen.busy_share:.0%} of the CPUs"
        yield Flag(kind="background", text=text)


def storm_flags(number: int, one: Round | ComponentRound) -> Iterator[Flag]:
    """Other processes at work while ours ran."""
    if one.others_share is not None and one.others_share > BUSY_SHARE:
        text = f"round {number}: while it ran, other processes used up to {one.others_share:.0%} of the CPUs"
        yield Flag(kind="background", text=text)


def sample_flags(warm_ms: Sequence[float]) -> Iterator[Flag]:
    """Noise that shows in the numbers themselves."""
    spread = summarise(warm_ms).variation
    if spread > NOISY:
        yield Flag(kind="noisy", text=f"the warm runs vary by {spread:.0%} (coefficient of variation)")


def slowing(one: Round) -> float:
    """How much slower a round ended than it began; 1 for one too short to tell."""
    taken = [sample.total_ms for sample in one.result.timed]
    if len(taken) < _MIN_THIRDS:
        return 1.0
    third = len(taken) // 3
    return statistics.median(taken[-third:]) / statistics.median(taken[:third])
