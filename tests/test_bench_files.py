"""Result files of `dreamlite bench`, read, compared, shown. Oracle: reports of round numbers, and changes of them."""

import csv
import json
from base64 import b64encode
from pathlib import Path

import pytest
from bench_reports import bench_case, bench_report
from PIL import Image

from dreamlite_mobile.device.bench import Drawn
from dreamlite_mobile.device.errors import WrongPictureError
from dreamlite_mobile.device.page import render
from dreamlite_mobile.device.report import ComponentCase, ComponentRound, Flag, read_report
from dreamlite_mobile.device.stats import summarise
from dreamlite_mobile.device.table import csv_text
from dreamlite_mobile.errors import ConfigError


def test_reports_are_compared_by_the_command(run, tmp_path: Path) -> None:
    for name, base in (("a", 100.0), ("b", 130.0)):
        report = bench_report([bench_case([base + index for index in range(10)], rounds_of=2)])
        (tmp_path / f"{name}.json").write_text(report.model_dump_json())
    slower = run("bench", "compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    assert slower.code == 3 and slower.data["cases"][0]["verdict"] == "slower" and "slower than before" in slower.err
    faster = run("bench", "compare", tmp_path / "b.json", tmp_path / "a.json")
    assert faster.code == 0 and "faster" in faster.out


def test_a_comparison_does_not_pass_a_wrong_picture(run, tmp_path: Path) -> None:
    for name, case in (("a", bench_case([100.0] * 8)), ("b", bench_case([10.0] * 8, psnr=12.0))):
        (tmp_path / f"{name}.json").write_text(bench_report([case]).model_dump_json())
    found = run("bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert found.code == 3 and "wrong picture" in found.out and "faster" not in found.out


def test_a_file_that_is_no_report_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    found = run("bench", "compare", tmp_path / "a.json", tmp_path / "a.json")
    assert found.code == 1 and "is no benchmark of version 1" in found.err


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("cases", 0, "warm", "median"), 1.0, "warm does not follow from the runs"),
        (("cases", 0, "cold", "p90"), 1.0, "cold does not follow from the runs"),
        (("cases", 0, "stages", 0, "share"), -4.0, "greater than or equal to 0"),
        (("cases", 0, "stages", 1, "name"), "unet step x", "stages does not follow from the runs"),
        (("cases", 0, "load"), [], "load does not follow from the runs"),
        (("cases", 0, "sustained"), [1.0], "sustained does not follow from the runs"),
        (("cases", 0, "mode"), "edit", "a round of edit holds generate"),
        (("cases", 0, "bundle"), "nobody", "'nobody' is none of the bundles"),
        (("cases", 0, "correctness", "passed"), True, "12 dB pass a floor of 50 dB"),
        (("cases", 0, "correctness", "exact"), True, "a picture is exact or has decibels"),
        (("bundles", 0, "sha256"), "0" * 64, "ran another bundle"),
        (("gate_s",), 9.0, "gate_passed does not follow"),
        (("gate_s",), -1.0, "greater than or equal to 0"),
        (("cases", 0, "peak_pss_bytes"), 1, "peak_pss_bytes does not follow from the runs"),
        (("cases", 0, "rounds", 0, "result", "steps"), 1, "a run has other than 1 steps"),
        (("method", "steps"), 8, "has other steps than the method says"),
        (("method", "seed"), 8, "has other seed than the method says"),
        (("method", "rounds"), -3, "greater than or equal to 1"),
        (("bundles", 0, "width"), 0, "greater than or equal to 1"),
        (("phone", "ram_bytes"), float("nan"), "ram_bytes"),
    ],
)
def test_a_report_that_was_changed_by_hand_is_refused(
    run, tmp_path: Path, place: tuple[str | int, ...], value: object, said: str
) -> None:
    data = bench_report([bench_case([100.0] * 5, psnr=12.0)]).model_dump(mode="json")
    node = data
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (tmp_path / "a.json").write_text(json.dumps(data))
    found = run("bench", "compare", tmp_path / "a.json", tmp_path / "a.json")
    assert found.code == 1 and said in found.err and "Traceback" not in found.err


def test_the_phones_picture_is_kept_beside_the_result(tmp_path: Path) -> None:
    """However wrong it is; the page shows it beside the host's."""
    from dreamlite_mobile.cli.bench_output import finish

    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    report = bench_report([bench_case([100.0] * 5, psnr=12.0)])
    page = tmp_path / "page.html"
    with pytest.raises(WrongPictureError):
        finish(report, [Drawn("bundle", "generate", red, blue)], page, None, tmp_path, False)
    (result,), (picture,) = tmp_path.glob("*.json"), tmp_path.glob("*.png")
    assert picture.name == f"{result.stem}.1-generate.png" and Image.open(picture).getpixel((0, 0)) == (255, 0, 0)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2 and b64encode(picture.read_bytes()).decode() in text
    assert text.index("<figcaption>the phone<span>12.0 dB") < text.index("<figcaption>this machine<span>host")


def test_components_of_a_runner_are_written_down(tmp_path: Path) -> None:
    """Round by round, with their flags."""
    seen, flag = bench_report().cases[0].rounds[0].before, Flag(kind="background", text="round 2: a storm")
    rounds = [
        ComponentRound(before=seen, after=seen, cooled_s=0.0, cooled=True, first_ms=first, samples_ms=samples)
        for first, samples in ((9.0, (2.0, 3.0)), (7.0, (4.0,)))
    ]
    part = ComponentCase(
        bundle="bundle", component="unet", method="generate", runner="qnn_executor_runner", first_ms=8.0,
        samples_ms=(2.0, 3.0, 4.0), runs_a_sample=1, warm=summarise((2.0, 3.0, 4.0)), snr_db=None, floor_db=50.0,
        passed=None, rounds=tuple(rounds), flags=(flag,),
    )  # fmt: skip
    report = bench_report().model_copy(update={"app": None, "cases": (), "components": (part,)})
    lines = list(csv.DictReader(csv_text(report).splitlines()))
    assert [(line["round"], line["kind"], line["stage_ms"]) for line in lines] == [
        ("1", "first", "9.0"), ("1", "timed", "2.0"), ("1", "timed", "3.0"),
        ("2", "first", "7.0"), ("2", "timed", "4.0"),
    ]  # fmt: skip
    assert "bundle, unet.generate: round 2: a storm" in render(report, (), "")
    place = tmp_path / "a.json"
    place.write_text(report.model_dump_json())
    assert read_report(place) == report
    place.write_text(report.model_dump_json().replace('"first_ms":9.0', '"first_ms":1.0'))
    with pytest.raises(ConfigError, match="do not follow from the rounds"):
        read_report(place)


def two_sizes(tmp_path: Path) -> Path:
    """A report of two bundles that draw other sizes."""
    report = bench_report([bench_case([100.0] * 5)])
    other = report.bundles[0].model_copy(update={"name": "large", "width": 128})
    case = report.cases[0].model_copy(update={"bundle": "large"})
    report = report.model_copy(update={"bundles": (*report.bundles, other), "cases": (*report.cases, case)})
    (tmp_path / "two.json").write_text(report.model_dump_json())
    return tmp_path / "two.json"


def test_bundles_of_two_sizes_are_shown_and_not_compared(run, tmp_path: Path, capfd) -> None:
    from dreamlite_mobile.cli.bench_output import finish

    place = two_sizes(tmp_path)
    finish(read_report(place), [], None, None, None, False)
    shown = capfd.readouterr()
    assert "large: draws 128x64 and bundle 64x64" in shown.out + shown.err and "generate: large" in shown.out
    found = run("bench", "compare", place)
    assert found.code == 1 and "nothing to compare: large: draws 128x64 and bundle 64x64" in found.err


def test_a_report_of_a_refused_run_is_refused(run, tmp_path: Path) -> None:
    data = bench_report().model_dump(mode="json")
    data["cases"][0]["rounds"][0]["result"] |= {"problem": "no such folder", "samples": []}
    (tmp_path / "a.json").write_text(json.dumps(data))
    found = run("bench", "compare", tmp_path / "a.json", tmp_path / "a.json")
    assert found.code == 1 and "what the app refused" in found.err and "Traceback" not in found.err


ODD = "d[/b] [w8] \\"


def test_names_with_brackets_are_shown_as_they_are(capsys) -> None:
    """Oracle: the names themselves; rich would read them as markup, or fail."""
    from dreamlite_mobile.cli.bench_output import show, show_comparison
    from dreamlite_mobile.device.comparison import compare_reports

    report = bench_report()
    phone = report.phone.model_copy(update={"model": "M[/x] [red]"})
    bundle = report.bundles[0].model_copy(update={"name": ODD})
    case = report.cases[0].model_copy(update={"bundle": ODD})
    report = report.model_copy(update={"phone": phone, "bundles": (bundle,), "cases": (case,)})
    show(report)
    show_comparison(f"{ODD}.json and b", *compare_reports(report, report), False)
    printed = capsys.readouterr().out
    assert printed.count(ODD) >= 4 and "M[/x] [red] (SM8650" in printed
