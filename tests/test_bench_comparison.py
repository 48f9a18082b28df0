"""What is compared with what, and when a difference counts. Oracles: enumeration of the dealings, planted noise."""

from collections.abc import Sequence

import numpy as np
import pytest
from bench_reports import bench_case, bench_report

from dreamlite_mobile.device.comparison import check_compared, compare_reports, compare_within, few_rounds
from dreamlite_mobile.device.errors import RegressionError, WrongPictureError
from dreamlite_mobile.device.report import BenchReport, ComponentCase
from dreamlite_mobile.device.stats import summarise
from dreamlite_mobile.errors import ConfigError

SPREAD = [100.0, 101.0, 102.0, 103.0, 104.0]


def measured(rounds: Sequence[float], **changes: object) -> BenchReport:
    """Two runs in each round, one of them a little longer."""
    return bench_report([bench_case([ms for one in rounds for ms in (one, one + 1)], rounds_of=2, **changes)])


def test_slower_beyond_luck_is_a_regression() -> None:
    """5 and 5 rounds can be dealt in 252 ways, of which 2 differ as much."""
    before, now = measured(SPREAD), measured([ms + 20 for ms in SPREAD])
    rows, _ = compare_reports(before, now)
    assert [(row.start, row.verdict) for row in rows] == [("warm", "slower"), ("cold", "same")]
    assert rows[0].change.p_value == pytest.approx(2 / 252, abs=0.004)
    with pytest.raises(RegressionError, match=r"102.5 -> 122.5 ms, \+19.5%"):
        check_compared(rows, now)
    back = compare_reports(now, before)[0]
    assert back[0].verdict == "faster"
    check_compared(back, before)


@pytest.mark.parametrize("now", [[ms + 1 for ms in SPREAD], [100.0, 99.0, 140.0, 150.0, 101.0]])
def test_little_or_uncertain_changes_are_none(now: list[float]) -> None:
    assert compare_reports(measured(SPREAD), measured(now))[0][0].verdict == "same"


def test_runs_of_one_process_are_not_independent() -> None:
    """Two processes of ten runs each that differ by 5 % as processes do: forty runs say nothing of it."""
    close = np.random.default_rng(1).normal(1.0, 0.002, 10)
    reports = [
        bench_report([bench_case([float(ms) for base in bases for ms in base * close], rounds_of=10)])
        for bases in ((100.0, 101.0), (106.0, 105.0))
    ]
    rows, _ = compare_reports(*reports)
    assert {row.verdict for row in rows} == {"too few rounds"} and "--rounds 5" in few_rounds(rows)[0]
    check_compared(rows, reports[1])


def test_processes_that_differ_by_luck_seldom_count() -> None:
    """Processes 3 % apart, runs 1 %, nothing slower: at most one in twenty may be called different."""
    random, found = np.random.default_rng(5), []
    for _ in range(40):
        reports = [
            bench_report([bench_case([float(ms) for base in random.normal(100, 3, 5)
                                      for ms in base * random.normal(1, 0.01, 2)], rounds_of=2)])
            for _ in range(2)
        ]  # fmt: skip
        found.append(compare_reports(*reports)[0][0].verdict)
    assert found.count("same") >= 37


def test_a_fast_wrong_picture_is_no_gain() -> None:
    before, now = measured(SPREAD), measured([ms / 5 for ms in SPREAD], psnr=12.0)
    rows, _ = compare_reports(before, now)
    assert {row.verdict for row in rows} == {"wrong picture"}
    with pytest.raises(WrongPictureError, match="PSNR 12.0 dB"):
        check_compared(rows, now)
    said = compare_reports(now, before)[1]
    assert any("before: wrong picture: bundle, generate: PSNR 12.0 dB" in text for text in said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 8}, "steps 2 and 8"),
        ({"sustain_s": 60.0}, "sustain_s None and 60.0"),
        ({"prompt": "a cat"}, "prompt a and a cat"),
        ({"warm_up": 3}, "warm_up 0 and 3"),
        ({"threads": 2}, "threads None and 2"),
        ({"seed": 8}, "seed 7 and 8"),
    ],
)
def test_other_work_is_not_compared(change: dict[str, object], said: str) -> None:
    other = bench_report()
    other = other.model_copy(update={"method": other.method.model_copy(update=change)})
    with pytest.raises(ConfigError, match=said):
        compare_reports(bench_report(), other)


def test_another_instruction_is_no_other_work_for_generating() -> None:
    other = bench_report()
    other = other.model_copy(update={"method": other.method.model_copy(update={"instruction": "else"})})
    assert len(compare_reports(bench_report(), other)[0]) == 2


def test_nothing_in_common_is_not_compared() -> None:
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare_reports(bench_report([bench_case([1.0], mode="edit")]), bench_report())


def test_a_case_that_the_later_report_lacks_is_no_pass() -> None:
    both = bench_report([bench_case(SPREAD), bench_case(SPREAD, mode="edit")])
    with pytest.raises(ConfigError, match="the later report lacks bundle, edit"):
        compare_reports(both, bench_report([bench_case(SPREAD)]))
    rows, said = compare_reports(bench_report([bench_case(SPREAD)]), both)
    assert len(rows) == 2 and "only in the later report: bundle, edit" in said


def two(one: dict[str, object], other: dict[str, object], now: Sequence[float] = SPREAD) -> BenchReport:
    """Bundles `one` and `two` in one report."""
    report = measured(SPREAD)
    bundles = [
        report.bundles[0].model_copy(update={"name": name, **changes})
        for name, changes in (("one", one), ("two", other))
    ]
    cases = [
        measured(times).cases[0].model_copy(update={"bundle": name}) for name, times in (("one", SPREAD), ("two", now))
    ]
    return report.model_copy(update={"bundles": tuple(bundles), "cases": tuple(cases)})


def test_sizes_are_those_of_each_bundle() -> None:
    small, large = {"width": 64}, {"width": 128}
    with pytest.raises(ConfigError, match="picture sizes 64x64 of one and 128x64 of one"):
        compare_reports(two(small, large), two(large, small))


def test_another_bundle_is_remarked() -> None:
    other = bench_report()
    changed = other.bundles[0].model_copy(update={"precision": "w8", "sha256": "ef" * 32})
    said = compare_reports(bench_report(), other.model_copy(update={"bundles": (changed,)}))[1]
    assert "bundle: precision fp32 before, w8 now" in said
    assert f"bundle: digest {'ab' * 8} before, {'ef' * 8} now" in said


def test_another_phone_is_remarked() -> None:
    phone = bench_report().phone.model_copy(update={"model": "Pixel"})
    said = compare_reports(bench_report(), bench_report().model_copy(update={"phone": phone}))[1]
    assert any(text.startswith("phone: ") for text in said)


def test_bundles_that_took_turns_are_compared_with_the_first() -> None:
    rows, said = compare_within(two({}, {"precision": "w8"}, [ms * 2 for ms in SPREAD]))
    assert (rows[0].bundle, rows[0].start, rows[0].verdict) == ("two", "warm", "slower")
    assert said[0] == "before is one" and "two: precision fp32 before, w8 now" in said
    with pytest.raises(ConfigError, match="one bundle"):
        compare_within(bench_report())


def components(samples: Sequence[float], runner: str = "executor_runner") -> BenchReport:
    """A report of a runner binary."""
    part = ComponentCase(
        bundle="bundle", component="unet", method="generate", runner=runner, first_ms=1.0, samples_ms=tuple(samples),
        runs_a_sample=10, warm=summarise(samples), snr_db=90.0, floor_db=50.0, passed=True,
    )  # fmt: skip
    return bench_report().model_copy(update={"app": None, "cases": (), "components": (part,)})


def test_means_of_other_numbers_of_runs_are_not_compared() -> None:
    """The first run of each process is cold, so a mean of few runs is longer than one of many."""
    few = components(SPREAD)
    (part,) = few.components
    many = few.model_copy(update={"components": (part.model_copy(update={"runs_a_sample": 20}),)})
    with pytest.raises(ConfigError, match=r"means of \[10\] and \[20\] runs"):
        compare_reports(few, many)


def test_reports_of_a_runner_are_compared_by_component() -> None:
    """`executor_runner` gives a mean for each process; `qnn_executor_runner` all its times in one."""
    (row,), _ = compare_reports(components(SPREAD), components([ms + 20 for ms in SPREAD]))
    assert (row.mode, row.start, row.verdict) == ("unet.generate", "component", "slower")
    (same,), _ = compare_reports(components(SPREAD), components(SPREAD))
    assert same.verdict == "same"
    (few,), _ = compare_reports(*[components(SPREAD, "qnn_executor_runner")] * 2)
    assert few.verdict == "too few rounds"
    with pytest.raises(ConfigError, match="runners"):
        compare_reports(components(SPREAD), components(SPREAD, "qnn_executor_runner"))
