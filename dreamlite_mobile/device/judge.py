"""What a report says in the end: a wrong picture, a limit that is passed, a regression."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dreamlite_mobile.device.errors import GateError, RegressionError, WrongPictureError
from dreamlite_mobile.device.report import BenchReport, Case, Stage
from dreamlite_mobile.device.stats import Change, change
from dreamlite_mobile.errors import ConfigError

SIGNIFICANT = 0.05
MIN_CHANGE = 0.03
"""What a median may gain before it matters, however sure it is: phones differ by this much from boot to boot."""
MIN_RUNS = 5
"""Of each side: with fewer, no difference can be significant."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One case in two reports. `verdict`: same, faster, slower, too few runs to tell, or wrong picture."""

    bundle: str
    mode: str
    start: str
    before_ms: float
    now_ms: float
    change: Change
    verdict: str


def gate_passed(cases: Sequence[Case], limit_s: float | None) -> bool | None:
    """Whether every mode's median stays within the limit; None without one."""
    return None if limit_s is None else all(case.warm.median <= 1000 * limit_s for case in cases)


def check_report(report: BenchReport) -> None:
    """Raise for the worst of what the report holds: a fast wrong picture is worse than a slow right one.

    Raises:
        WrongPictureError: a picture below its floor. GateError: a median over the limit.
    """
    check_pictures(report)
    if report.gate_passed is False and report.gate_s is not None:
        limit = 1000 * report.gate_s
        slow = [case for case in report.cases if case.warm.median > limit]
        raise GateError(
            f"over the limit of {report.gate_s:g} s:\n" + "\n".join(f"  {slow_case(case, limit)}" for case in slow)
        )


def check_pictures(report: BenchReport) -> None:
    """WrongPictureError for outputs of components and pictures below their floor."""
    check_components(report)
    wrong = [case for case in report.cases if is_wrong(case)]
    if wrong:
        raise WrongPictureError("wrong pictures:\n" + "\n".join(f"  {wrong_picture(case)}" for case in wrong))


def is_wrong(case: Case) -> bool:
    """Whether its picture was compared and is below the floor."""
    return case.correctness is not None and not case.correctness.passed


def problems_of(report: BenchReport) -> tuple[str, ...]:
    """What `check_report` would raise for, in one line; empty when nothing."""
    try:
        check_report(report)
    except (WrongPictureError, GateError) as error:
        return (str(error),)
    return ()


def check_components(report: BenchReport) -> None:
    """WrongPictureError for outputs of components below their floor."""
    wrong = [case for case in report.components if case.passed is False]
    if wrong:
        lines = (
            f"  {case.bundle}, {case.component}.{case.method}: SNR {case.snr_db or 0:.1f} dB against the host, "
            f"the floor is {case.floor_db:g} dB"
            for case in wrong
        )
        raise WrongPictureError("wrong outputs:\n" + "\n".join(lines))


def wrong_picture(case: Case) -> str:
    """How far it is."""
    found = case.correctness
    assert found is not None
    psnr = "exact but of one colour" if found.psnr_db is None else f"PSNR {found.psnr_db:.1f} dB"
    return f"{case.bundle}, {case.mode}: {psnr} against {found.reference}, the floor is {found.floor_db:g} dB"


def slow_case(case: Case, limit_ms: float) -> str:
    """By how much, and where most of the time goes."""
    most: Stage = max(case.stages, key=lambda stage: stage.ms)
    flagged = f"; flagged: {', '.join(flag.kind for flag in case.flags)}" if case.flags else ""
    return (
        f"{case.bundle}, {case.mode}: median {case.warm.median:.0f} ms, {case.warm.median - limit_ms:.0f} ms too much; "
        f"most of it in {most.name} ({most.share:.0%}){flagged}"
    )


def compare_reports(before: BenchReport, now: BenchReport) -> tuple[list[Compared], list[str]]:
    """Every case of both reports, warm and cold, and what makes the comparison less than it seems.

    With one bundle in each report these are compared whatever they are called.

    Raises:
        ConfigError: nothing in common, or runs of different steps or sizes.
    """
    one_each = len(before.bundles) == len(now.bundles) == 1
    old = {(case.mode if one_each else case.key): case for case in before.cases}
    rows = []
    for case in now.cases:
        other = old.get(case.mode if one_each else case.key)
        if other is not None:
            rows += [compared(case, "warm", other.warm_ms, case.warm_ms)]
            rows += [compared(case, "cold", other.cold_ms, case.cold_ms)]
    if not rows:
        raise ConfigError("the two reports have no bundle and mode in common, so there is nothing to compare")
    check_same_work(before, now)
    return rows, remarks(before, now)


def compared(case: Case, start: str, before: Sequence[float], now: Sequence[float]) -> Compared:
    """One row."""
    found = change(now, before)
    medians = statistics.median(before), statistics.median(now)
    if is_wrong(case):
        verdict = "wrong picture"
    elif min(len(before), len(now)) < MIN_RUNS:
        verdict = "too few runs"
    elif found.p_value >= SIGNIFICANT or abs(found.ratio - 1) < MIN_CHANGE:
        verdict = "same"
    else:
        verdict = "slower" if found.ratio > 1 else "faster"
    return Compared(case.bundle, case.mode, start, *medians, found, verdict)


def check_same_work(before: BenchReport, now: BenchReport) -> None:
    """ConfigError for reports of different work."""
    for what in ("steps", "threads"):
        old, new = getattr(before.method, what), getattr(now.method, what)
        if old != new:
            raise ConfigError(f"the reports cannot be compared: {what} {old} and {new}. Measure one of them again.")
    sizes = [{(bundle.width, bundle.height) for bundle in report.bundles} for report in (before, now)]
    if sizes[0] != sizes[1]:
        raise ConfigError(f"the reports cannot be compared: picture sizes {sorted(sizes[0])} and {sorted(sizes[1])}")


def remarks(before: BenchReport, now: BenchReport) -> list[str]:
    """Other phones, other builds, flags."""
    found = []
    for what, old, new in (
        ("phone", before.phone.title, now.phone.title),
        ("build", before.phone.fingerprint, now.phone.fingerprint),
        ("app", before.app and before.app.app, now.app and now.app.app),
    ):
        if old != new:
            found.append(f"{what}: {old} before, {new} now")
    for label, report in (("before", before), ("now", now)):
        found += [f"{label}: {case.bundle}, {case.mode}: {flag.text}" for case in report.cases for flag in case.flags]
        found += [
            f"{label}: {case.bundle}, {case.mode}: the pictures were not compared with the host's"
            for case in report.cases
            if case.correctness is None
        ]
    found += [f"before: wrong picture: {wrong_picture(case)}" for case in before.cases if is_wrong(case)]
    return list(dict.fromkeys(found))


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
