"""What is made of samples: summaries, luck, turns, stages, flags, gates. Oracles: enumeration, hand-made numbers."""

import statistics
from collections.abc import Sequence
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from bench_reports import bench_case, bench_report, result, round_of, sample, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamlite_mobile.device import bench
from dreamlite_mobile.device.bench import Turn, turns
from dreamlite_mobile.device.conditions import percent
from dreamlite_mobile.device.correctness import default_source, judge_picture
from dreamlite_mobile.device.errors import GateError, WrongPictureError
from dreamlite_mobile.device.facts import read_zones
from dreamlite_mobile.device.flags import flags_of
from dreamlite_mobile.device.judge import check_report, problems_of
from dreamlite_mobile.device.page import MORE_CSS, render, stage_card
from dreamlite_mobile.device.report import gate_passed
from dreamlite_mobile.device.schema import Sample
from dreamlite_mobile.device.stages import by_minute, stages_of
from dreamlite_mobile.device.stats import change, summarise
from dreamlite_mobile.errors import ConfigError


def test_a_summary_is_median_p90_minimum_and_variation() -> None:
    found = summarise([10.0, 20.0, 30.0, 40.0, 100.0])
    assert (found.median, found.p90, found.minimum, found.runs) == (30.0, 76.0, 10.0, 5)
    assert found.variation == pytest.approx(np.std([10, 20, 30, 40, 100], ddof=1) / 40)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="no samples"):
        summarise([])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(90, 105), min_size=5, max_size=6), st.lists(st.integers(90, 105), min_size=4, max_size=5))
def test_the_chance_of_luck_is_the_share_of_dealings_that_differ_as_much(now: list[int], before: list[int]) -> None:
    """The oracle deals the samples in every possible way; the code in 10,000 random ones."""
    together = sorted([*now, *before])
    ranks = [
        statistics.fmean(place for place, other in enumerate(together, 1) if other == one) for one in [*now, *before]
    ]
    expected = statistics.fmean(ranks) * len(now)
    sums = [abs(sum(dealt) - expected) for dealt in combinations(ranks, len(now))]
    exact = sum(one >= abs(sum(ranks[: len(now)]) - expected) - 1e-9 for one in sums) / len(sums)
    assert change(now, before).p_value == pytest.approx(exact, abs=0.02)


def test_the_interval_holds_the_true_ratio() -> None:
    random = np.random.default_rng(3)
    found = change([*random.normal(110, 2, 40)], [*random.normal(100, 2, 40)])
    assert found.low < 1.1 < found.high and found.high - found.low < 0.05 and found.p_value < 0.001


def method_of(runs: int, rounds: int) -> object:
    return bench_report().method.model_copy(update={"runs": runs, "rounds": rounds})


def test_turns_alternate_and_share_the_runs() -> None:
    found = turns(["a", "b"], ["generate"], method_of(5, 2))
    assert found == [
        Turn("a", "generate", 3),
        Turn("b", "generate", 3),
        Turn("b", "generate", 2),
        Turn("a", "generate", 2),
    ]


def test_there_are_no_turns_without_runs() -> None:
    assert [turn.runs for turn in turns(["a"], ["edit"], method_of(2, 5))] == [1, 1]


def test_stages_are_in_order_and_fill_the_run() -> None:
    found = stages_of([sample(100.0), sample(100.0)])
    assert [stage.name for stage in found] == ["text_encoder", "unet step 1", "unet step 2", "vae_decoder", "host work"]
    assert [stage.ms for stage in found] == pytest.approx([10.0, 30.0, 30.0, 20.0, 10.0])
    assert sum(stage.share for stage in found) == pytest.approx(1.0)


def test_loading_again_in_every_run_is_a_stage_and_counts_once_in_a_cold_start() -> None:
    """A phone whose memory holds one component at a time."""
    one = sample(100.0)
    again = one.model_copy(update={"stages": {**one.stages, "loading": 7.0}})
    assert [(stage.name, stage.ms) for stage in stages_of([again])[-2:]] == [("loading", 7.0), ("host work", 3.0)]
    loaded = result([again])
    first = loaded.samples[0].model_copy(update={"stages": {"unet": 90.0, "loading": 50.0}})
    cold = loaded.model_copy(update={"samples": (first, *loaded.samples[1:])})
    assert (loaded.cold_ms, cold.cold_ms) == (200.0, 150.0)


def test_a_page_says_everything_that_is_wrong() -> None:
    """A wrong picture does not hide that the limit was passed, nor the other way round."""
    report = bench_report([bench_case([2000.0] * 5, psnr=12.0)], gate_s=1.0)
    assert [text.partition(":")[0] for text in problems_of(report)] == ["wrong pictures", "over the limit of 1 s"]
    page = render(report, problems_of(report), "")
    assert "PSNR 12.0 dB" in page and "1000 ms too much" in page and "process by process" not in page
    assert "process by process" in render(bench_report([bench_case([1.0] * 4, rounds_of=2)]), (), "")


def test_a_page_tells_the_battery() -> None:
    assert "80 %, 30 C" in render(bench_report(), (), "")


def test_a_page_shows_loading_as_a_stage() -> None:
    case = bench_case([100.0] * 5)
    stage = case.stages[0].model_copy(update={"name": "loading"})
    assert 'class="s6"' in stage_card(case.model_copy(update={"stages": (*case.stages, stage)}))
    assert "i.s6 {" in MORE_CSS


def test_a_sustained_run_is_told_by_the_minute() -> None:
    one = round_of([sample(20_000.0 + 1000 * index, begin=25_000.0 * index) for index in range(5)])
    assert by_minute(one.result) == (21_000.0, 23_500.0)


def kinds(flags: Sequence[object]) -> set[str]:
    return {flag.kind for flag in flags}


PHONE = bench_report().phone


def test_a_quiet_cool_phone_has_no_flags() -> None:
    assert flags_of([round_of([sample(100.0), sample(101.0)])], PHONE) == ()


def during(**changes: object) -> Sample:
    """A run after which the app saw something else than the host before and after the process."""
    one = sample(100.0)
    return one.model_copy(update={"conditions": one.conditions.model_copy(update=changes)})


def slowed(khz: int) -> Sample:
    return sample(100.0).model_copy(update={"cpu_khz": (khz,)})


@pytest.mark.parametrize(
    ("one", "kind", "text"),
    [
        (round_of([sample(100.0, thermal=2)]), "throttling", "moderate, while it ran"),
        (round_of([sample(100.0)], before=seen(thermal=1)), "throttling", "light, already before it"),
        (round_of([sample(100.0)], before=seen(charging=True)), "charging", "was charging"),
        (round_of([sample(100.0)], before=seen(celsius=41.0)), "hot", "41.0 degrees"),
        (round_of([sample(100.0)], cooled=False), "hot", "began hot"),
        (round_of([during(charging=True)]), "charging", "charging while it ran"),
        (round_of([during(headroom=1.3)]), "throttling", "headroom 1.30"),
        (round_of([sample(100.0), slowed(330240)]), "throttling", "fell to 10% of its highest"),
        (round_of([sample(100.0)], after=seen().model_copy(update={"powered": True})), "charging", "on a cable"),
        (round_of([sample(100.0)], after=seen(busy=0.4)), "background", "40% of the CPUs"),
        (round_of([sample(100.0), sample(140.0)]), "noisy", "vary by 24%"),
        (round_of([sample(100.0 + 4 * index) for index in range(9)]), "slowing", "1.23 times"),
        (round_of([sample(100.0)], wall_jump=-2000.0), "clock", "-2.0 s"),
    ],
)
def test_what_spoils_a_measurement_is_flagged(one: object, kind: str, text: str) -> None:
    (found,) = (flag for flag in flags_of([one], PHONE) if flag.kind == kind)
    assert text in found.text


def test_an_emulated_phone_and_a_guessed_chip_are_flagged() -> None:
    phone = PHONE.model_copy(update={"emulated": True, "soc_from": "guessed from ro.board.platform=sun"})
    assert kinds(flags_of([round_of([sample(100.0)])], phone)) == {"emulated", "guessed"}


def placeholder_manifest() -> object:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from small_bundle import write_bundle

    from dreamlite_mobile.bundle import open_bundle

    with TemporaryDirectory() as folder:
        return open_bundle(write_bundle(Path(folder) / "bundle")).manifest


def test_a_right_picture_passes_and_a_wrong_one_fails() -> None:
    picture, described = default_source(64, 64), placeholder_manifest()
    assert judge_picture(picture, picture, described, "host").exact
    noisy = np.asarray(picture).astype(int) + np.random.default_rng(0).integers(-9, 9, (64, 64, 3))
    found = judge_picture(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), picture, described, "host")
    assert not found.passed and 20 < (found.psnr_db or 0) < 40 and found.floor_db == 50


@pytest.mark.parametrize("wrong", [Image.new("RGB", (64, 64)), Image.new("RGB", (32, 64), "red")])
def test_a_blank_picture_or_another_size_never_passes(wrong: Image.Image) -> None:
    assert not judge_picture(wrong, wrong.resize((64, 64)), placeholder_manifest(), "host").passed


def test_the_worst_picture_of_all_rounds_is_judged_and_kept() -> None:
    """One of another size is as wrong as can be, though its distance is said to be 0 dB."""
    right, wrong = default_source(64, 64), Image.new("RGB", (32, 32), "red")
    bundle = SimpleNamespace(manifest=placeholder_manifest())
    verdict, drawn = bench.judge(bundle, ("bundle", "edit"), [right, wrong, right], lambda *_: (right, "host"))
    assert verdict is not None and not verdict.passed and drawn.found is wrong and drawn.expected is right
    assert bench.judge(bundle, ("bundle", "edit"), [wrong, right], None) == (
        None, bench.Drawn("bundle", "edit", wrong, None)
    )  # fmt: skip


def test_the_gate_is_of_the_median() -> None:
    case = bench_case([900.0, 950.0, 5000.0])
    assert gate_passed([case], 1.0) and not gate_passed([case], 0.94) and gate_passed([case], None) is None


def test_a_passed_limit_says_where_the_time_goes() -> None:
    with pytest.raises(GateError, match=r"median 1200 ms, 200 ms too much; most of it in unet step 1 \(30%\)"):
        check_report(bench_report([bench_case([1200.0] * 5)], gate_s=1.0))


def test_a_fast_wrong_picture_fails_before_the_gate() -> None:
    with pytest.raises(WrongPictureError, match="PSNR 12.0 dB"):
        check_report(bench_report([bench_case([10.0] * 5, psnr=12.0)], gate_s=1.0))


@pytest.mark.parametrize(("found", "read"), [("150", None), ("-1", None), ("--5", None), ("²", None), ("83", 83)])
def test_a_battery_that_cannot_be_is_not_known(found: str, read: int | None) -> None:
    assert percent(found) == read


def test_a_sensor_that_cannot_be_read_is_left_out() -> None:
    line = "Temperature{{mValue={}, mType=3, mName={}, mStatus=0}}"
    printed = "\n".join(
        line.format(value, name) for value, name in (("1.2.3", "bad"), ("-4.5", "cold"), ("--", "none"))
    )
    assert [(zone.name, zone.celsius) for zone in read_zones(printed)] == [("cold", -4.5)]


def test_a_phone_that_is_hot_at_the_start_is_cooled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its status is "none", not until it is as hot as it was."""
    asked: list[int | None] = []
    monkeypatch.setattr(bench, "cool_down", lambda _link, status, *_: asked.append(status) or (0.0, True))
    monkeypatch.setattr(bench, "look", lambda _link: seen(thermal=3))
    app = SimpleNamespace(link=None, run=lambda *_: SimpleNamespace(result=result([sample(100.0)]), others_share=None))
    taken, _ = bench.take_turn(app, None, method_of(1, 1), lambda _: None)
    assert asked == [0] and taken.before.conditions.thermal_status == 3
