"""The checkpoint inside the package: complete, small, honest about itself, and loaded like any other."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from checkpoint_files import UNET_FILE, replace_file

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.config import EMBEDDED
from dreamlite_mobile.errors import OutputError
from dreamlite_mobile.tiny.embedded import PACKAGED, RECORD, embedded_checkpoint, told, training_record

ROOT = Path(__file__).parents[1]
MOST_BYTES = 16_000_000
FILES = sorted(str(file.relative_to(PACKAGED)) for file in PACKAGED.rglob("*") if file.is_file())


def test_it_is_the_published_layout_in_half_precision_and_small() -> None:
    checkpoint = open_checkpoint(PACKAGED)
    assert checkpoint.config == EMBEDDED
    assert {entry.dtype for index in checkpoint.tensors.values() for entry in index.values()} == {"F16"}
    assert sum((PACKAGED / file).stat().st_size for file in FILES) <= MOST_BYTES
    assert len(checkpoint.identity) == 64


def test_its_record_says_where_the_weights_came_from() -> None:
    record = training_record()
    assert {"commit", "command", "seed", "versions", "stages"} <= set(record)
    assert all({"stage", "step", "steps", "seconds"} <= set(stage) for stage in record["stages"])
    assert record["command"] in told(record)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({}, "untrained"),
        ({"text": 9000}, "9,000 steps (text) at commit aaaaaaaaaaaa: how. It is not distilled yet"),
        ({"text": 9000, "distil": 2000}, "11,000 steps (text, distil) at commit aaaaaaaaaaaa: how."),
    ],
)
def test_how_far_the_weights_are_is_said(stages: dict[str, int], said: str) -> None:
    listed = [{"stage": name, "step": step} for name, step in stages.items()]
    text = told({"commit": "a" * 40, "command": "how", "stages": listed})
    assert said in text
    assert ("not distilled" in text) == (list(stages) == ["text"])


def test_the_run_that_the_weights_began_with_counts_too() -> None:
    before = {
        "commit": "b" * 40,
        "command": "then",
        "stages": [{"stage": "text", "step": 100}, {"stage": "joint", "step": 20}],
    }
    after = {"commit": "a" * 40, "command": "now", "before": before, "stages": [{"stage": "joint", "step": 3}]}
    assert "123 steps (text, joint) at commit aaaaaaaaaaaa: now." in told(after)


def test_the_wheel_ships_every_file_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built from a copy of the sources, so that nothing is left beside them."""
    import shutil

    from setuptools import build_meta

    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("dreamlite_mobile", "export"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / build_meta.build_wheel(str(tmp_path))) as wheel:
        names = set(wheel.namelist())
        assert {f"dreamlite_mobile/tiny/checkpoint/{file}" for file in FILES} <= names
        assert wheel.read(f"dreamlite_mobile/tiny/checkpoint/{UNET_FILE}") == (PACKAGED / UNET_FILE).read_bytes()


def test_a_copy_is_made_once_and_mended_when_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert embedded_checkpoint(folder) == folder
    assert open_checkpoint(folder).identity == open_checkpoint(PACKAGED).identity
    assert (folder / RECORD).read_bytes() == (PACKAGED / RECORD).read_bytes()
    before = (folder / UNET_FILE).stat()
    assert (embedded_checkpoint(folder) / UNET_FILE).stat().st_ino == before.st_ino
    replace_file(folder / UNET_FILE, b"damaged")
    embedded_checkpoint(folder)
    assert (folder / UNET_FILE).read_bytes() == (PACKAGED / UNET_FILE).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_nothing_but_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    with pytest.raises(OutputError, match="is no checkpoint"):
        embedded_checkpoint(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "kept"


def test_diffusers_loads_it() -> None:
    """Oracle: the published classes' own loaders, on the package's folder as it is."""
    from diffusers import AutoencoderTiny, DreamLiteUNetModel

    for model, name in ((AutoencoderTiny, "vae"), (DreamLiteUNetModel, "unet")):
        loaded, report = model.from_pretrained(PACKAGED, subfolder=name, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert all(bool(torch.isfinite(value).all()) for value in loaded.state_dict().values())


def test_the_record_is_plain_json() -> None:
    assert json.loads((PACKAGED / RECORD).read_text(encoding="utf-8")) == training_record()
