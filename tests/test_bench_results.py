"""Result files that are kept in the repository can be read by the code that is beside them."""

from pathlib import Path

import pytest

from dreamlite_mobile.device.comparison import compare_reports
from dreamlite_mobile.device.judge import check_report
from dreamlite_mobile.device.page import render
from dreamlite_mobile.device.report import file_name, read_report
from dreamlite_mobile.device.table import csv_text

KEPT = sorted((Path(__file__).parent.parent / "benchmarks/results").glob("bench-*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_result_is_read_and_named_as_it_was(path: Path) -> None:
    report = read_report(path)
    assert file_name(report) == path.name and csv_text(report).count("\n") > len(report.cases)
    check_report(report)


def test_a_result_equals_itself() -> None:
    report = read_report(KEPT[0])
    assert {row.verdict for row in compare_reports(report, report)[0]} <= {"same", "too few rounds"}


def test_every_text_of_the_page_is_escaped_and_nothing_outside_is_referred_to() -> None:
    evil = "<script>alert(1)</script>"
    report = read_report(KEPT[0])
    phone = report.phone.model_copy(update={"model": evil, "fingerprint": evil})
    bundles = tuple(bundle.model_copy(update={"name": evil}) for bundle in report.bundles)
    cases = tuple(case.model_copy(update={"bundle": evil}) for case in report.cases)
    text = render(report.model_copy(update={"phone": phone, "bundles": bundles, "cases": cases}), (evil,), evil)
    assert "<script" not in text and "http:" not in text and "https:" not in text and "url(" not in text
