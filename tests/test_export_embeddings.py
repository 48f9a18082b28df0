"""The token table in other numbers. Oracle: the checkpoint's own rows, and what rounding to 127 steps may cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import SIZE, exported
from checkpoint_files import TEXT_FILE, change_tensors, copy_of_tiny, tiny_checkpoint

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_schema import EmbeddingsEntry
from dreamlite_mobile.checkpoint import EMBEDDING, EmbeddingRows, open_checkpoint
from dreamlite_mobile.errors import BundleError, ConfigError, ExportError
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.tokens import table_precision, token_rows
from dreamlite_mobile.runtime.embeddings import EmbeddingTable
from dreamlite_mobile.tiny.embedded import PACKAGED
from export.driver import ExportRequest, plan_export, run_export
from export.embeddings import Storage, quantised_rows, storage, write_rows
from export.estimate import estimate

FULL_WIDTH = 2048
EVERY = np.arange(1024)


def written(rows: EmbeddingRows, how: Storage, file: Path) -> EmbeddingTable:
    """The table as a bundle's reader sees it."""
    dtype = write_rows(rows, how, file)
    return EmbeddingTable(file, *rows.shape, dtype)


def tiny_rows() -> EmbeddingRows:
    return open_checkpoint(tiny_checkpoint()).embedding_rows()


def test_int8_rows_are_rounded_to_127_steps_of_their_largest(tmp_path: Path) -> None:
    rows = tiny_rows()
    found, wanted = written(rows, "int8", tmp_path / "table").lookup(EVERY), rows.lookup(EVERY.tolist())
    step = np.abs(wanted).max(1, keepdims=True) / 127
    assert np.all(np.abs(found - wanted) <= step * 0.5001) and np.any(found != wanted)
    assert (tmp_path / "table").stat().st_size == 1024 * (128 + 4)


def test_the_table_of_the_published_size_is_below_320_megabytes() -> None:
    published = EmbeddingsEntry(file="table", rows=151_936, columns=FULL_WIDTH, dtype="int8")
    assert published.nbytes == 151_936 * (FULL_WIDTH + 4) < 320_000_000


def test_a_row_of_zeros_and_one_large_number_are_kept() -> None:
    block = torch.zeros(3, 8)
    block[1, 2], block[2, 5] = -3e4, 1e-30
    codes, scales = quantised_rows(block)
    assert torch.equal(codes[0], torch.zeros(8, dtype=torch.int8)) and codes[1, 2] == -127 and codes[2, 5] == 127
    torch.testing.assert_close(codes * scales[:, None], block)


@pytest.mark.parametrize("path", [tiny_checkpoint, lambda: PACKAGED], ids=["random", "trained"])
def test_int8_keeps_40_db_of_every_checkpoint(path, tmp_path: Path) -> None:
    rows = open_checkpoint(path()).embedding_rows()
    ids = np.arange(rows.shape[0])
    assert compare(written(rows, "int8", tmp_path / "table").lookup(ids), rows.lookup(ids.tolist())).snr_db >= 40


def test_int8_keeps_40_db_of_rows_of_the_published_width() -> None:
    block = torch.randn(256, FULL_WIDTH, generator=torch.Generator().manual_seed(0))
    codes, scales = quantised_rows(block)
    assert compare((codes * scales[:, None]).numpy(), block.numpy()).snr_db >= 40


def test_fp16_of_the_checkpoint_in_fp16_is_exact(tmp_path: Path) -> None:
    rows = tiny_rows()
    np.testing.assert_array_equal(written(rows, "fp16", tmp_path / "table").lookup(EVERY), rows.lookup(EVERY.tolist()))


def test_fp16_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    change_tensors(folder / TEXT_FILE, **{EMBEDDING: torch.full((1024, 128), 7e4)})
    with pytest.raises(ExportError, match="--embeddings fp16: .* up to 70000, float16 ends at 65504; take int8"):
        write_rows(open_checkpoint(folder).embedding_rows(), "fp16", tmp_path / "table")


def test_an_unknown_storage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"--embeddings: unknown storage 'int4'; known: fp16, int8, stored"):
        storage("int4")


def test_a_table_without_its_scales_is_refused(tmp_path: Path) -> None:
    write_rows(tiny_rows(), "int8", tmp_path / "table")
    (tmp_path / "table").write_bytes((tmp_path / "table").read_bytes()[: 1024 * 128])
    with pytest.raises(BundleError, match="131072 bytes, expected 135168"):
        EmbeddingTable(tmp_path / "table", 1024, 128, "int8")


def test_an_export_writes_the_table_it_was_asked_for_and_parity_has_a_row_of_it(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    asked = ExportRequest(checkpoint, "tiny", "onnx", SIZE, SIZE, components=("text_encoder",), embeddings="int8")
    plan = plan_export(replace(asked, modes=("generate",)))
    bundle = run_export(plan, tmp_path / "bundle").bundle
    entry = bundle.manifest.embeddings
    assert entry is not None and entry.dtype == "int8" and bundle.manifest.files[entry.file].bytes == entry.nbytes
    (expected,) = [part for part in estimate(plan) if part.name == "token embeddings"]
    assert expected.expected_bytes == entry.nbytes
    (row,) = token_rows(bundle, checkpoint)
    assert (row.component, row.precision) == ("token_embeddings", "w8") and 40 <= row.metrics.snr_db < 60


def test_a_table_in_the_checkpoints_own_numbers_has_no_row() -> None:
    bundle, checkpoint = open_bundle(exported("fp32", "onnx")), open_checkpoint(tiny_checkpoint())
    assert bundle.manifest.embeddings is not None and bundle.manifest.embeddings.dtype == "float16"
    assert token_rows(bundle, checkpoint) == []
    assert [table_precision(dtype, "float32") for dtype in ("float32", "float16", "int8")] == ["fp32", "fp16", "w8"]
