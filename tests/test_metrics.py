"""Metrics and floors on cases that can be worked out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dreamlite_mobile.errors import ConfigError, ParityError
from dreamlite_mobile.parity.metrics import compare, psnr
from dreamlite_mobile.parity.report import parity_json, parity_table
from dreamlite_mobile.parity.rows import Row, digest
from dreamlite_mobile.parity.run import worst_rows
from dreamlite_mobile.parity.thresholds import FLOORS, PICTURE, check, coarsest, complaint, floor

RAMP = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)


def row(found: np.ndarray, reference: np.ndarray, precision: str = "fp32", component: str = "unet") -> Row:
    metrics = compare(found, reference, picture=component == PICTURE)
    return Row(component, "edit", "velocity", precision, "xnnpack vs torch", metrics, "0123456789ab", 0.5)


def noisy(decibels: float) -> np.ndarray:
    """RAMP with an error of exactly that SNR (float64, so that it is exact)."""
    reference = RAMP.astype(np.float64)
    error = np.zeros_like(reference)
    error[1, 2] = math.sqrt(np.square(reference).sum() * 10 ** (-decibels / 10))
    return reference + error


def test_equal_results_are_exact() -> None:
    metrics = compare(RAMP, RAMP.copy())
    assert (metrics.snr_db, metrics.relative_rms, metrics.max_error, metrics.defects) == (math.inf, 0.0, 0.0, ())
    assert metrics.cosine == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("decibels", [0.0, 20.0, 99.5, 130.0])
def test_a_made_error_is_measured(decibels: float) -> None:
    metrics = compare(noisy(decibels), RAMP)
    assert metrics.snr_db == pytest.approx(decibels, abs=1e-3)
    assert metrics.relative_rms == pytest.approx(10 ** (-decibels / 20), rel=1e-4)
    assert metrics.worst == (1, 2)
    assert metrics.max_error == pytest.approx(np.linalg.norm(RAMP) * 10 ** (-decibels / 20), rel=1e-4)


@pytest.mark.parametrize(("factor", "cosine"), [(2.0, 1.0), (-1.0, -1.0)])
def test_cosine_ignores_length_but_not_sign(factor: float, cosine: float) -> None:
    assert compare(RAMP * np.float32(factor), RAMP).cosine == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["result", "reference"])
def test_values_that_are_not_finite_fail_and_are_located(bad: float, side: str) -> None:
    spoilt = RAMP.copy()
    spoilt[2, 1] = bad
    pair = (spoilt, RAMP) if side == "result" else (RAMP, spoilt)
    metrics = compare(*pair)
    assert metrics.snr_db == -math.inf and metrics.worst == (2, 1)
    assert metrics.defects == (f"the {side} has 1 values that are not finite",)


def test_equal_infinities_still_fail() -> None:
    spoilt = RAMP.copy()
    spoilt[0, 0] = math.inf
    with pytest.raises(ParityError, match="not finite"):
        check([row(spoilt, spoilt)])


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_constants_fail_even_when_they_are_equal(value: float) -> None:
    constant = np.full((3, 4), value, np.float32)
    metrics = compare(constant, constant)
    assert metrics.snr_db == math.inf
    with pytest.raises(ParityError, match=f"the result is {value:g} everywhere; the reference is {value:g} everywhere"):
        check([row(constant, constant)])


def test_a_zero_reference_has_no_signal() -> None:
    metrics = compare(RAMP, np.zeros_like(RAMP))
    assert (metrics.snr_db, metrics.relative_rms, metrics.cosine) == (-math.inf, math.inf, 0.0)


def test_both_zero_is_equal_in_number() -> None:
    zero = np.zeros_like(RAMP)
    metrics = compare(zero, zero)
    assert (metrics.relative_rms, metrics.cosine) == (0.0, 1.0)


@pytest.mark.parametrize("shape", [(4, 3), (12,), (0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParityError, match="cannot be compared"):
        compare(np.zeros(shape, np.float32), RAMP if 0 not in shape else np.zeros(shape, np.float32))


def test_large_values_do_not_overflow() -> None:
    metrics = compare(RAMP * np.float32(2.002e37), RAMP * np.float32(2e37))
    assert metrics.snr_db == pytest.approx(60.0, abs=1e-2)


def test_psnr_of_bytes_uses_255_and_does_not_wrap() -> None:
    left, right = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(left, right) == 0.0
    right[...] = 1
    assert psnr(left, right) == pytest.approx(20 * math.log10(255))


def test_psnr_of_floats_clamps_and_has_a_peak_of_two() -> None:
    left = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    assert psnr(left, left - np.float32(0.02)) == pytest.approx(20 * math.log10(100), abs=0.1)
    assert psnr(left + np.float32(3), left + np.float32(5)) == math.inf


def test_psnr_of_bytes_and_floats_is_refused() -> None:
    with pytest.raises(ParityError, match="cannot be compared"):
        psnr(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32))


@given(st.integers(0, 2**32 - 1), st.floats(-8, 0))
def test_swapping_and_scaling_keep_what_they_should(seed: int, level: float) -> None:
    random = np.random.default_rng(seed)
    reference = random.standard_normal(64)
    found = reference + 10**level * random.standard_normal(64)
    once, scaled = compare(found, reference), compare(found * 4, reference * 4)
    assert scaled.snr_db == pytest.approx(once.snr_db, abs=1e-6)
    assert once.snr_db == pytest.approx(-20 * math.log10(once.relative_rms), abs=1e-6)
    assert compare(reference, found).max_error == once.max_error


@pytest.mark.parametrize("precision", FLOORS)
def test_just_below_the_floor_raises_and_just_above_does_not(precision: str) -> None:
    least = floor(precision, "xnnpack").component_snr_db
    check([row(noisy(least + 0.01), RAMP, precision)])
    with pytest.raises(
        ParityError, match=rf"unet.edit velocity \(xnnpack vs torch, {precision}\): SNR .* {least:g} dB"
    ):
        check([row(noisy(least - 0.01), RAMP, precision)])


def test_the_floors_of_fp32_are_those_asked_for() -> None:
    assert (FLOORS["fp32"].component_snr_db, FLOORS["fp32"].picture_psnr_db) == (100.0, 50.0)


def test_every_row_below_its_floor_is_named() -> None:
    rows = [row(noisy(50), RAMP), row(noisy(120), RAMP), replace(row(noisy(30), RAMP), component="vae_decoder")]
    with pytest.raises(ParityError) as refusal:
        check(rows)
    assert str(refusal.value).count("\n") == 2
    assert "vae_decoder.edit" in str(refusal.value) and "50.0 dB, the floor is 100 dB" in str(refusal.value)
    assert refusal.value.exit_code == 3


def test_a_picture_is_judged_by_psnr() -> None:
    left = np.random.default_rng(0).integers(10, 200, (8, 8, 3)).astype(np.uint8)
    close, far = left.copy(), left + np.uint8(2)
    close[0, 0, 0] += 1
    assert complaint(row(close, left, component=PICTURE)) is None
    assert "PSNR 42.1 dB, the floor is 50 dB" in str(complaint(row(far, left, component=PICTURE)))


def test_the_coarsest_precision_decides() -> None:
    assert [coarsest(names) for names in (["fp32"], ["w8", "fp32"], ["fp32", "w4", "w8"])] == ["fp32", "w8", "w4"]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown precision 'w5'; known: fp16, fp32, p4, p6, w4, w4a16, w8"):
        floor("w5", "xnnpack")


def test_the_worst_row_is_the_one_that_fails_not_the_one_of_least_decibels() -> None:
    """A constant of high SNR, a failing row of a high floor, and among sound rows the least margin."""
    flat = np.full_like(RAMP, 3.0)
    defect, low = row(flat + 1e-9, flat, "w8"), row(noisy(40), RAMP, "w8")
    assert low.metrics.snr_db < defect.metrics.snr_db and worst_rows([low, defect]) == [defect]
    failing = row(noisy(90), RAMP, "fp32")
    assert worst_rows([low, failing]) == worst_rows([failing, low]) == [failing]
    near = row(noisy(101), RAMP, "fp32")
    assert worst_rows([low, near]) == worst_rows([near, low]) == [near]


def test_json_holds_finite_numbers_and_the_verdict() -> None:
    zero = np.zeros_like(RAMP)
    rows = [row(RAMP, RAMP.copy()), row(noisy(50), RAMP), row(zero, RAMP), row(RAMP, zero)]
    data = json.loads(json.dumps(parity_json(rows), allow_nan=False))
    assert [item["passed"] for item in data] == [True, False, False, False]
    assert data[0]["snr_db"] is None and data[0]["exact"] is True
    assert data[1]["snr_db"] == pytest.approx(50) and data[1]["worst"] == [1, 2] and data[1]["floor_db"] == 100.0


def test_the_table_shows_every_row_and_its_verdict() -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(parity_table([row(RAMP, RAMP.copy()), row(noisy(50), RAMP)]))
    text = console.export_text()
    assert text.count("xnnpack vs torch") == 2 and "exact" in text and "FAIL" in text and "50.0" in text


def test_a_digest_names_values_shapes_and_names() -> None:
    same = {digest({"a": RAMP, "b": RAMP}), digest({"b": RAMP.copy(), "a": np.asfortranarray(RAMP)})}
    others = {digest({"a": RAMP}), digest({"a": RAMP.T}), digest({"c": RAMP}), digest({"a": RAMP.astype("f8")})}
    assert len(same) == 1 and len(same | others) == 5
