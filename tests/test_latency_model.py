"""Rates, their fit and the documents. Oracles: planted rates that the fit must find again, arithmetic by hand, the
committed files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.latency_model.counts import read_works, write_works
from benchmarks.latency_model.document import README, net_rows, readme, served_rows
from benchmarks.latency_model.dreamlite import DOCUMENT, calls, compiled, dreamlite, kept, traffic
from benchmarks.latency_model.fit import Row, digest_of, fit, rows_of
from benchmarks.latency_model.nets import NETS, work_of
from benchmarks.latency_model.results import (
    MEASUREMENTS,
    WORKS,
    rates_without,
    read_results,
    refit_one,
    table,
    works,
)
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.latency.picture import Call, add_up
from dreamlite_mobile.latency.rates import PRECISIONS, packaged_rates, predict, terms
from dreamlite_mobile.latency.work import KINDS, Work
from export.targets import TARGETS

ROOT = Path(__file__).parents[1]


def work(**amounts: int) -> Work:
    return Work({kind: amounts.get(kind, 0) for kind in KINDS}, 10, 1000, {})


def test_every_measurement_has_its_source() -> None:
    found = table()["measurements"]
    assert (
        len({one["net"] for one in found}) >= 10 and len({one["net"] for one in found if one["soc"] == "SM8650"}) >= 10
    )
    for one in found:
        assert one["url"].startswith("https://github.com/quic/ai-hub-models/blob/") and one["row"] and one["date"]
        assert one["ms"] > 0 and one["soc"] in TARGETS and one["precision"] in PRECISIONS and one["net"] in NETS


def test_the_packaged_rates_are_of_the_table_beside_them() -> None:
    rates = packaged_rates()
    assert rates.measurements_sha256 == digest_of(MEASUREMENTS)
    assert rates.measurements == len(rows_of(table())[0]) and set(rates.chips) <= set(TARGETS)


def test_the_documents_are_what_the_scripts_write() -> None:
    """Mend: `python -m benchmarks.latency_model`."""
    assert README.read_text() == readme()
    assert DOCUMENT.read_text() == dreamlite()


def test_a_shown_ratio_is_that_of_the_numbers_beside_it() -> None:
    """Two measurements of one network on one chip (Qwen2 and Qwen2.5) are not mixed up."""
    for rows, measured, predicted, ratio in ((net_rows(), 5, 6, 7), (served_rows(), 3, 4, 5)):
        for row in rows:
            found = float(row[measured].replace(",", "")) / float(row[predicted].replace(",", ""))
            assert found == pytest.approx(float(row[ratio]), abs=0.02), row


def test_language_models_are_in_the_table() -> None:
    found = table()
    nets = {one["net"] for one in found["measurements"]}
    assert {"qwen2_5_7b_instruct", "llama_v3_2_1b_instruct"} <= nets
    assert not nets & {one["net"] for one in found["served"]}
    for one in found["served"]:
        assert one["url"].startswith("https://github.com/powerserve-project/PowerServe/blob/")
        assert one["ms"] == pytest.approx(128e3 / float(one["row"].split()[-2]), abs=0.001)


def test_the_fit_is_what_its_files_say() -> None:
    again, kept = refit_one(), read_results()["sum"]
    assert dict(again.fitted.ms) == pytest.approx(dict(kept.fitted.ms), rel=1e-3)
    assert [one.predicted for one in again.left] == pytest.approx([one.predicted for one in kept.left], rel=1e-3)
    rates = packaged_rates()
    assert rates.ms == pytest.approx(dict(again.fitted.ms), rel=1e-3)
    assert rates.spread.low == pytest.approx(again.quantile(0.1), rel=1e-3)


def test_kept_counts_are_those_of_the_networks() -> None:
    assert works()["resnet50"] == work_of("resnet50") and set(works()) == set(NETS)


def test_counts_survive_their_file(tmp_path) -> None:
    write_works(tmp_path / "a.json", works())
    assert read_works(tmp_path / "a.json") == read_works(WORKS)


def test_planted_rates_are_found_again() -> None:
    """Times made by known rates and a factor of 1.5 for another chip."""
    true = replace(read_results()["sum"].fitted, slower={"SM8650": 1.0, "SM8550": 1.5})
    rows, _ = rows_of(table())
    made = [
        replace(row, soc=soc, ms=true.predict(works()[row.net], replace(row, soc=soc)))
        for row in {(row.net, row.precision): row for row in rows}.values()
        for soc in true.slower
    ]
    found = fit(made, works(), pull=1e-6)
    assert found.slower["SM8550"] == pytest.approx(1.5, rel=1e-3)
    for row in made:
        assert found.predict(works()[row.net], row) == pytest.approx(row.ms, rel=0.01)
    assert found.ms["conv fp16"] == pytest.approx(true.ms["conv fp16"], rel=0.05)


def test_a_left_out_network_has_not_been_seen() -> None:
    """Its times can be anything: the others' rates do not move."""
    rows, _ = rows_of(table())
    spoilt = [replace(row, ms=row.ms * 50) if row.net == "vit" else row for row in rows]
    from benchmarks.latency_model.fit import fits_without

    few = [row for row in spoilt if row.net in ("vit", "resnet50", "stable_diffusion_v1_5 unet")]
    honest = [row for row in rows if row.net in ("vit", "resnet50", "stable_diffusion_v1_5 unet")]
    assert fits_without(few, works())["vit"] == fits_without(honest, works())["vit"]


def test_a_quantised_network_slower_than_fp16_is_set_aside() -> None:
    rows, aside = rows_of(table())
    assert {row.net for row in aside} == {"densenet121", "whisper_small HfWhisperEncoder"}
    assert not [row for row in rows if row.net == "densenet121" and row.precision != "fp16"]


def test_a_call_is_the_sum_of_its_parts() -> None:
    rates = packaged_rates()
    found = predict(rates, "SM8650", work(conv=2 * 10**9), "fp16", programs=3)
    assert found.parts["convolutions"] == pytest.approx(2 * rates.ms["conv fp16"])
    assert found.parts["calls"] == pytest.approx(3 * rates.ms["call"] + 0.01 * rates.ms["operators"])
    slower = predict(rates, "SM8550", work(conv=2 * 10**9), "fp16", programs=3)
    assert slower.ms == pytest.approx(found.ms * rates.chips["SM8550"].slower)


def test_bytes_have_a_floor() -> None:
    """76.8 GB/s, of which 60 can be had: 6 GB take 100 ms."""
    found = predict(packaged_rates(), "SM8650", work(), "fp16", traffic=6e9)
    assert found.bound and found.ms == pytest.approx(100, rel=0.01)
    assert not predict(packaged_rates(), "SM8650", work(linear=10**12), "fp16", traffic=6e9).bound


def test_what_is_estimated_is_what_was_validated() -> None:
    """Oracle: the published predictions of left-out networks, whose errors make the interval."""
    for left in read_results()["sum"].left:
        found = predict(rates_without()[left.row.net], left.row.soc, works()[left.row.net], left.row.precision)
        assert found.ms == pytest.approx(left.predicted, rel=1e-3), left.row
        assert not found.bound


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_has_all_its_rates(precision: str) -> None:
    assert {name for _, name in terms(work(), precision)} <= set(packaged_rates().ms)
    assert predict(packaged_rates(), "SM8650", works()["vit"], precision).ms > 0


def test_more_bits_take_longer() -> None:
    unet = works()["stable_diffusion_v1_5 unet"]
    times = [predict(packaged_rates(), "SM8650", unet, name).ms for name in ("fp16", "w8a16", "w8a8mix", "w8a8")]
    assert times == sorted(times, reverse=True)


def test_the_interval_is_wider_where_the_precision_is_extrapolated() -> None:
    rates = packaged_rates()
    plain, mixed = (
        add_up(rates, "SM8650", "generate", [Call("unet", 4, name, works()["vit"])]) for name in ("fp16", "w8a8mix")
    )
    assert plain.high / plain.ms == pytest.approx(rates.spread.high) and not plain.extrapolated
    assert mixed.high / mixed.ms == pytest.approx(rates.spread.most) and mixed.extrapolated
    assert plain.ms == pytest.approx(4 * plain.stages[0].each.ms) == pytest.approx(sum(plain.parts.values()))


def test_a_chip_without_measurements_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--soc SM8450: no measurements .* SM8550, SM8650, SM8750, SM8850"):
        packaged_rates().chip("SM8450")


def test_dreamlite_has_the_compilers_bytes() -> None:
    """Those of the file that `benchmarks.htp_traffic stages` writes, pieces of stages left out."""
    counted = json.loads((ROOT / "benchmarks/results/htp_traffic.json").read_text())["SM8650 fp16 S=200"]
    moved = sum(
        one["read_bytes"] + one["written_bytes"] for name, one in counted.items() if name.startswith(("down", "up"))
    )
    unet = kept("unet 1024", "fp16")
    assert traffic(unet, "fp16") == pytest.approx(compiled().total) == pytest.approx(moved, rel=1e-9)
    assert traffic(unet, "w8a16") == pytest.approx(compiled().total - unet.weights)
    text, step, _ = calls("fp16")
    assert (text.programs, step.programs, step.times) == (2, 6, 4) and math.isclose(step.traffic or 0, compiled().total)


def test_a_left_out_row_is_as_far_off_as_said() -> None:
    left = read_results()["sum"].left
    shown = next(one for one in left if one.row == Row("vit", "fp16", "SM8650", 7.671))
    assert shown.ratio == pytest.approx(7.671 / shown.predicted)
