"""Two reports, or two bundles of one: what belongs together, whether it differs beyond luck, what else differs.

Runs of one process share its memory layout, clocks and heat: they are no independent samples. A process (a round) is
one, so each counts by the median of its runs, and few rounds cannot tell anything.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dreamlite_mobile.device.errors import RegressionError
from dreamlite_mobile.device.judge import check_pictures, is_wrong, wrong_picture
from dreamlite_mobile.device.report import BenchReport, BundleIdentity, Case, ComponentCase
from dreamlite_mobile.device.stats import Change, change
from dreamlite_mobile.device.table import flags_by_name
from dreamlite_mobile.errors import ConfigError

SIGNIFICANT = 0.05
MIN_CHANGE = 0.03
"""What a median may gain before it matters, however sure it is: phones differ by this much from boot to boot."""
MIN_ROUNDS = 4
"""Of each side: 3 and 3 can be dealt in 20 ways, of which the two extreme ones are already 10 %."""
TOO_FEW, WRONG = "too few rounds", "wrong picture"
SAME_METHOD = ("steps", "threads", "seed", "warm_up", "sustain_s")
"""Other values of these are other work."""
TEXTS = {"generate": "prompt", "edit": "instruction"}


@dataclass(frozen=True, slots=True)
class Compared:
    """One case in two reports. `mode`: of a picture, or `component.method`; `start`: warm, cold or component.

    Milliseconds are medians of the rounds' medians. `verdict`: same, faster, slower, too few rounds, wrong picture.
    """

    bundle: str
    mode: str
    start: str
    before_ms: float
    now_ms: float
    change: Change
    verdict: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A bundle in both reports, or two of one report."""

    before: BundleIdentity
    now: BundleIdentity


def compare_reports(before: BenchReport, now: BenchReport) -> tuple[list[Compared], list[str]]:
    """Every case of both reports, warm and cold, and what makes the comparison less than it seems.

    With one bundle in each report these are compared whatever they are called.

    Raises:
        ConfigError: nothing in common, a case that the later report lacks, or other work.
    """
    mine, other = ({bundle.name: bundle for bundle in report.bundles} for report in (now, before))
    if len(mine) == len(other) == 1:
        pairs = [Pair(before.bundles[0], now.bundles[0])]
    else:
        pairs = [Pair(other[name], mine[name]) for name in mine if name in other]
    old, new = cases_of(before), cases_of(now)
    partners: dict[tuple[str, str], tuple[str, str]] = {
        (pair.before.name, what): (pair.now.name, what)
        for pair in pairs
        for name, what in old
        if name == pair.before.name
    }
    rows = [row for left, right in partners.items() if right in new for row in rows_of(old[left], new[right])]
    if not rows:
        raise ConfigError("the two reports have no bundle and mode in common, so there is nothing to compare")
    lacking = [f"{name}, {what}" for name, what in old if partners.get((name, what)) not in new]
    if lacking:
        raise ConfigError(
            f"the later report lacks {'; '.join(lacking)}, so it cannot be said that nothing became slower. Measure "
            "them too, or leave them out of the earlier report."
        )
    check_same_work(before, now)
    check_same_sizes(pairs)
    fresh = [key for key in new if key not in partners.values()]
    return rows, [*remarks(before, now, pairs), *(f"only in the later report: {name}, {what}" for name, what in fresh)]


def compare_within(report: BenchReport) -> tuple[list[Compared], list[str]]:
    """Every other bundle of a report against its first, which took turns with them; one of another size is remarked.

    Raises:
        ConfigError: a single bundle.
    """
    first, *rest = report.bundles
    if not rest:
        raise ConfigError("the report holds one bundle, so there is nothing to compare it with. Name a second report.")
    others = [other for other in rest if size_of(other) == size_of(first)]
    pairs = [Pair(first, other) for other in others]
    unlike = [
        f"{other.name}: draws {size_of(other)} and {first.name} {size_of(first)}, so they are not compared"
        for other in rest
        if other not in others
    ]
    cases = cases_of(report)
    rows = [
        row
        for other in others
        for (name, what), case in cases.items()
        if name == first.name and (other.name, what) in cases
        for row in rows_of(case, cases[other.name, what])
    ]
    said = [f"before is {first.name}"] if rows else []
    return rows, [*said, *unlike, *(text for pair in pairs for text in bundle_remarks(pair))]


def size_of(bundle: BundleIdentity) -> str:
    """Of its pictures."""
    return f"{bundle.width}x{bundle.height}"


def cases_of(report: BenchReport) -> Mapping[tuple[str, str], Case | ComponentCase]:
    """By bundle and mode, or bundle and component."""
    parts = {(one.bundle, f"{one.component}.{one.method}"): one for one in report.components}
    return {**{(case.bundle, case.mode): case for case in report.cases}, **parts}


def rows_of(before: Case | ComponentCase, now: Case | ComponentCase) -> Iterator[Compared]:
    """Warm and cold of a picture, warm of a component."""
    if isinstance(before, ComponentCase) or isinstance(now, ComponentCase):
        assert isinstance(before, ComponentCase) and isinstance(now, ComponentCase)
        wrong, name = now.passed is False, f"{now.component}.{now.method}"
        yield compared((now.bundle, name, "component"), processes(before), processes(now), wrong)
        return
    for start, old, new in (("warm", before.warm_rounds, now.warm_rounds), ("cold", before.cold_ms, now.cold_ms)):
        yield compared((now.bundle, now.mode, start), old, new, is_wrong(now))


def processes(case: ComponentCase) -> list[float]:
    """A value for each process: `executor_runner` gives a mean for each, the other one all its times.

    Reports of before there were rounds hold one process of `qnn_executor_runner`.
    """
    if case.rounds:
        return [statistics.median(one.samples_ms) for one in case.rounds]
    if case.runner.startswith("qnn_"):
        return [statistics.median(case.samples_ms)]
    return list(case.samples_ms)


def compared(key: tuple[str, str, str], before: Sequence[float], now: Sequence[float], wrong: bool) -> Compared:
    """One row, from one value for each process."""
    found = change(now, before)
    if wrong:
        verdict = WRONG
    elif min(len(before), len(now)) < MIN_ROUNDS:
        verdict = TOO_FEW
    elif found.p_value >= SIGNIFICANT or abs(found.ratio - 1) < MIN_CHANGE:
        verdict = "same"
    else:
        verdict = "slower" if found.ratio > 1 else "faster"
    return Compared(*key, statistics.median(before), statistics.median(now), found, verdict)


def check_same_work(before: BenchReport, now: BenchReport) -> None:
    """ConfigError for reports of different work."""
    common = {case.mode for case in before.cases} & {case.mode for case in now.cases}
    for what in (*SAME_METHOD, *(text for mode, text in TEXTS.items() if mode in common)):
        old, new = getattr(before.method, what), getattr(now.method, what)
        if old != new:
            raise ConfigError(f"the reports cannot be compared: {what} {old} and {new}. Measure one of them again.")
    runners = [{case.runner for case in report.components} for report in (before, now)]
    if runners[0] != runners[1]:
        raise ConfigError(f"the reports cannot be compared: runners {sorted(runners[0])} and {sorted(runners[1])}")
    means = [{case.runs_a_sample for case in report.components} for report in (before, now)]
    if means[0] != means[1]:
        raise ConfigError(
            f"the reports cannot be compared: samples are means of {sorted(means[0])} and {sorted(means[1])} runs, the "
            "first of which is cold. Measure one of them again with the other's --runs."
        )


def check_same_sizes(pairs: Sequence[Pair]) -> None:
    """ConfigError for bundles that draw other sizes."""
    for pair in pairs:
        old, new = size_of(pair.before), size_of(pair.now)
        if old != new:
            raise ConfigError(
                f"the reports cannot be compared: picture sizes {old} of {pair.before.name} and {new} of "
                f"{pair.now.name}"
            )


def remarks(before: BenchReport, now: BenchReport, pairs: Sequence[Pair]) -> list[str]:
    """Other phones, other builds, other bundles, flags."""
    found = []
    for what, old, new in (
        ("phone", before.phone.title, now.phone.title),
        ("build", before.phone.fingerprint, now.phone.fingerprint),
        ("app", before.app and before.app.app, now.app and now.app.app),
    ):
        if old != new:
            found.append(f"{what}: {old} before, {new} now")
    found += [text for pair in pairs for text in bundle_remarks(pair)]
    for label, report in (("before", before), ("now", now)):
        found += [f"{label}: {name}: {flag.text}" for name, flags in flags_by_name(report) for flag in flags]
        found += [
            f"{label}: {case.bundle}, {case.mode}: the pictures were not compared with the host's"
            for case in report.cases
            if case.correctness is None
        ]
    found += [f"before: wrong picture: {wrong_picture(case)}" for case in before.cases if is_wrong(case)]
    return list(dict.fromkeys(found))


def bundle_remarks(pair: Pair) -> Iterator[str]:
    """What of a bundle is another."""
    for what in ("precision", "backend", "target", "checkpoint_sha256", "sha256"):
        old, new = getattr(pair.before, what), getattr(pair.now, what)
        if old != new:
            label = "digest" if what == "sha256" else what.replace("_sha256", "'s digest")
            yield f"{pair.now.name}: {label} {old[:16]} before, {new[:16]} now"


def few_rounds(rows: Sequence[Compared]) -> list[str]:
    """What to do about rows that cannot tell."""
    few = [row for row in rows if row.verdict == TOO_FEW]
    if not few:
        return []
    return [
        f"{len(few)} of {len(rows)} rows have under {MIN_ROUNDS} rounds on a side: runs of one process are not "
        "independent, so no difference can be told from luck. Measure with --rounds 5 or more."
    ]


def check_compared(rows: Sequence[Compared], now: BenchReport) -> None:
    """Raise for the worst of what a comparison found: however fast, a wrong picture is no gain.

    Raises:
        WrongPictureError: a picture of the later report is wrong. RegressionError: every case that became slower.
    """
    check_pictures(now)
    slower = [row for row in rows if row.verdict == "slower"]
    if slower:
        raise RegressionError("slower than before:\n" + "\n".join(f"  {regression(row)}" for row in slower))


def regression(row: Compared) -> str:
    """One line of what became slower."""
    found = row.change
    return (
        f"{row.bundle}, {row.mode}, {row.start}: {row.before_ms:.1f} -> {row.now_ms:.1f} ms, {found.ratio - 1:+.1%} "
        f"({found.low - 1:+.1%} to {found.high - 1:+.1%}), p = {found.p_value:.4f}"
    )
