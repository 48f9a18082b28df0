"""What a report says in the end: a wrong picture, a limit that is passed."""

from dreamlite_mobile.device.errors import GateError, WrongPictureError
from dreamlite_mobile.device.report import BenchReport, Case
from dreamlite_mobile.device.stages import Stage


def check_report(report: BenchReport) -> None:
    """Raise for the worst of what the report holds: a fast wrong picture is worse than a slow right one.

    Raises:
        WrongPictureError: a picture below its floor. GateError: a median over the limit.
    """
    check_pictures(report)
    check_gate(report)


def check_gate(report: BenchReport) -> None:
    """GateError for medians over the limit."""
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
    """Everything that `check_report` would raise for; empty when nothing."""
    found = []
    for check in (check_pictures, check_gate):
        try:
            check(report)
        except (WrongPictureError, GateError) as error:
            found.append(str(error))
    return tuple(found)


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
