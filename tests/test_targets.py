"""The table of chips is the compiler's own, and names that are not in it are refused with the nearest."""

import pytest
from executorch.backends.qualcomm.serialization.qc_schema import _soc_info_table

from dreamlite_mobile.errors import ConfigError
from export.targets import COMPILER_QNN, DEFAULT_SOC, TARGETS, target

COMPILER = {chipset.name: info for chipset, info in _soc_info_table.items()}


@pytest.mark.parametrize("soc", TARGETS)
def test_a_row_says_what_the_compiler_says(soc: str) -> None:
    row, info = TARGETS[soc], COMPILER[soc]
    assert (row.chipset, row.htp, row.vtcm_mb) == (
        info.soc_model,
        info.htp_info.htp_arch,
        info.htp_info.vtcm_size_in_mb,
    )
    assert row.phones


def test_the_default_is_the_xiaomi_14s() -> None:
    assert "Xiaomi 14" in target(DEFAULT_SOC).phones
    assert target(" sm8650 ") is TARGETS["SM8650"]


def test_fp16_needs_snapdragon_8_gen_1_or_newer() -> None:
    """As `generate_htp_compiler_spec` documents it."""
    assert {row.soc for row in TARGETS.values() if not row.fp16} == {"SM8350"}
    assert all(row.fp16 for row in TARGETS.values() if row.htp >= 69)


def test_an_unknown_chip_is_refused_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError, match=r"--soc: unknown SoC 'SM8651'; known: SM8350, .*, SM8850\. Did") as refused:
        target("sm8651")
    assert str(refused.value).count(" or 'SM") == 2 and "'SM8650'" in str(refused.value)


def test_a_row_names_the_runtime_files_of_its_architecture() -> None:
    found = TARGETS["SM8650"].as_json()
    assert found["runtime_files"] == ["libQnnHtp.so", "libQnnSystem.so", "libQnnHtpV75Stub.so", "libQnnHtpV75Skel.so"]
    assert found["qnn_runtime"] == f">= {COMPILER_QNN}"
    assert found["context_limit_kb"] == 2_097_152
