"""A report against an earlier one, and its published schema. Oracle: reports made by hand, and the schema files."""

import json
from pathlib import Path

import pytest

from dreamlite_mobile.errors import ConfigError, ParityError
from dreamlite_mobile.parity.diff import check_checkpoints, check_diff, compare_reports, diff_entry
from dreamlite_mobile.parity.schema import SCHEMAS, ParityReport, json_schema, read_report

ROOT = Path(__file__).parents[1]


def row(decibels: float | None = 110.0, **more: object) -> dict[str, object]:
    """One passing row; None stands for equality."""
    return {
        "component": "unet",
        "method": "edit",
        "output": "velocity",
        "precision": "fp32",
        "pair": "xnnpack vs torch",
        "snr_db": decibels,
        "psnr_db": None,
        "relative_rms": 1e-6,
        "cosine": 1.0,
        "max_error": 1e-5,
        "worst": [0, 1],
        "defects": [],
        "exact": decibels is None,
        "metric": "SNR",
        "floor_db": 100.0,
        "passed": True,
        "problem": None,
        "origin": "sample",
        "input_digest": "0123456789ab",
        "seconds": 0.1,
    } | more


def bundle(*rows: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "bundle": "b",
        "backend": "xnnpack",
        "target": "cpu",
        "size": "64x64",
        "checkpoint": "ab" * 32,
        "precision": {"unet": "fp32"},
        "parity": list(rows),
        "seconds": [],
        "numbers": [],
        "number_problems": [],
        "blocks": [],
    } | more


def report(*bundles: dict[str, object]) -> ParityReport:
    return ParityReport.model_validate({"version": 2, "tools": {}, "bundles": list(bundles), "report": None})


def test_a_report_against_itself_has_nothing_to_tell() -> None:
    same = report(bundle(row(), row(None, output="other")))
    diff = compare_reports(same, same)
    assert [change.fall_db for change in diff.changes] == [0.0, 0.0] and (diff.gone, diff.new) == ((), ())
    check_diff(diff, "earlier.json")


@pytest.mark.parametrize(("now", "worse"), [(109.1, False), (108.9, True), (120.0, False), (None, False)])
def test_only_a_fall_beyond_the_tolerance_is_worse(now: float | None, worse: bool) -> None:
    diff = compare_reports(report(bundle(row(110.0))), report(bundle(row(now))))
    assert bool(diff.regressions) is worse


def test_a_wider_tolerance_lets_more_pass() -> None:
    before, after = report(bundle(row(110.0))), report(bundle(row(106.0)))
    assert compare_reports(before, after, 5.0).regressions == []
    with pytest.raises(
        ParityError, match=r"worse than old.json by more than 1 dB:\n  b: unet.edit velocity"
    ) as refusal:
        check_diff(compare_reports(before, after), "old.json")
    assert "SNR 110.0 -> 106.0 dB" in str(refusal.value) and refusal.value.exit_code == 3


def test_equality_lost_to_rounding_is_no_regression_but_a_real_fall_is() -> None:
    exact = report(bundle(row(None)))
    assert compare_reports(exact, report(bundle(row(141.0)))).regressions == []
    assert len(compare_reports(exact, report(bundle(row(120.0)))).regressions) == 1


def test_a_new_defect_is_worse_whatever_its_decibels() -> None:
    spoilt = report(bundle(row(110.0, defects=["the result is 0 everywhere"])))
    assert len(compare_reports(report(bundle(row(110.0))), spoilt).regressions) == 1


def test_what_is_no_longer_compared_fails_and_what_is_new_does_not() -> None:
    two, one = report(bundle(row(), row(output="other"))), report(bundle(row()))
    with pytest.raises(ParityError) as refusal:
        check_diff(compare_reports(two, one), "earlier.json")
    assert str(refusal.value) == (
        "in earlier.json, but no longer compared:\n  b: unet.edit other (xnnpack vs torch, sample)"
    )
    assert compare_reports(one, two).new == ("b: unet.edit other (xnnpack vs torch, sample)",)


def test_bundles_are_matched_by_what_they_are_not_by_their_names_or_order() -> None:
    coarse = bundle(row(30.0), bundle="c", precision={"unet": "w8"})
    before = report(bundle(row(110.0)), coarse)
    after = report({**coarse, "bundle": "d"}, bundle(row(110.0), bundle="e"))
    assert [change.fall_db for change in compare_reports(before, after).changes] == [0.0, 0.0]


def test_other_inputs_are_remarked() -> None:
    diff = compare_reports(report(bundle(row())), report(bundle(row(input_digest="ba9876543210"))))
    assert [change.other_inputs for change in diff.changes] == [True]


def test_a_report_of_other_weights_is_refused_before_anything_is_compared() -> None:
    earlier = report(bundle(row()))
    check_checkpoints(earlier, "old.json", {"b": "ab" * 32})
    with pytest.raises(ConfigError, match=r"--against old.json: is of the checkpoint abab.*, but b was made from cdcd"):
        check_checkpoints(earlier, "old.json", {"a": "ab" * 32, "b": "cd" * 32})


def test_bundles_of_other_weights_are_not_matched() -> None:
    both = report(bundle(row(110.0)), bundle(row(30.0), checkpoint="cd" * 32))
    diff = compare_reports(both, report(bundle(row(30.0), checkpoint="cd" * 32)))
    assert [change.fall_db for change in diff.changes] == [0.0] and len(diff.gone) == 1


def test_the_diff_is_in_the_report_as_published() -> None:
    """A fall, a defect (null), equality, what is gone and what is new."""
    rows = [row(110.0), row(None, output="same"), row(110.0, output="broken"), row(output="gone")]
    now = [
        row(90.0),
        row(None, output="same"),
        row(110.0, output="broken", defects=["0 everywhere"]),
        row(output="new"),
    ]
    entry = diff_entry(compare_reports(report(bundle(*rows)), report(bundle(*now))), "old.json")
    told = {change.output: (change.before_db, change.now_db, change.regression) for change in entry.changes}
    assert told == {
        "velocity": (110.0, 90.0, True),
        "same": ("exact", "exact", False),
        "broken": (110.0, None, True),
    }
    assert len(entry.gone) == len(entry.new) == 1 and (entry.against, entry.tolerance_db) == ("old.json", 1.0)
    whole = report(bundle(*now)).model_copy(update={"diff": entry})
    assert ParityReport.model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_that_of_the_code(name: str) -> None:
    """Mend: write `json_schema(model)` into the file, and raise the version if an old report would not fit."""
    assert json.loads((ROOT / "dreamlite_mobile/parity/schemas" / name).read_text()) == json_schema(SCHEMAS[name])


def test_an_earlier_report_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(report(bundle(row())).model_dump_json())
    assert read_report(path) == report(bundle(row()))


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "Invalid JSON"), ('{"version": 1}', "version"), ("[]", "should be an object")],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"--against .*: is no parity report of version 2.*{said}"):
        read_report(path)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_report(tmp_path / "none.json")
