"""Golden vectors: whole, repeatable, and true. Oracles: the files' digests, Pillow, Python's own layouts."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from golden_vectors import golden_folder
from PIL import Image
from qwen_vocabulary import write_published_tokenizer

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.golden.numbers import DEVIATES, SEEDS, noise_cases, schedule_cases
from dreamlite_mobile.golden.pictures import OFFERED, picture_cases
from dreamlite_mobile.golden.texts import FRAGMENTS, hard_texts
from dreamlite_mobile.golden.write import DIGESTS, write_golden
from dreamlite_mobile.noise import initial_latents


@pytest.fixture(scope="module")
def folder() -> Path:
    return golden_folder()


def listed(folder: Path) -> dict[str, str]:
    lines = (folder / DIGESTS).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_every_file_is_listed_with_its_digest(folder: Path) -> None:
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != DIGESTS
    }
    assert found == listed(folder)


def test_texts_are_the_same_every_time_and_many() -> None:
    texts = list(hard_texts(2000))
    assert texts == list(hard_texts(2000))
    assert len(set(texts)) > 1900 and set(FRAGMENTS) <= set(texts)


def test_numbers_and_pictures_are_the_same_every_time(folder: Path) -> None:
    assert json.loads((folder / "noise.json").read_text()) == noise_cases()
    assert json.loads((folder / "schedule.json").read_text()) == schedule_cases()
    document, files = picture_cases()
    assert json.loads((folder / "pictures.json").read_text()) == json.loads(json.dumps(document))
    assert all((folder / name).read_bytes() == data for name, data in files.items())


def test_every_size_is_taken_for_some_picture() -> None:
    chosen = {choice for case in picture_cases()[0]["nearest"] if len(case["sizes"]) == 3 for choice in case["chosen"]}
    assert chosen == set(OFFERED)


def test_deviates_are_the_bits_of_the_noise() -> None:
    case = noise_cases()["normals"][SEEDS.index(42)]
    found = np.array(case["bits"], np.uint32).view(np.float32)
    np.testing.assert_array_equal(found, initial_latents(42, (DEVIATES,)))


@pytest.mark.parametrize("name", ["qwen", "tiny"])
def test_thousands_of_texts_and_both_modes_for_each_vocabulary(folder: Path, name: str) -> None:
    texts = (folder / "tokenizer" / name / "texts.jsonl").read_text().splitlines()
    prompts = json.loads((folder / "tokenizer" / name / "prompts.json").read_text())
    assert len(texts) >= 4000
    assert {(case["mode"], "refused" in case, case.get("cut")) for case in prompts["cases"]} == {
        (mode, *rest) for mode in ("generate", "edit") for rest in ((True, None), (False, False), (False, True))
    }
    assert prompts["published"] == (name == "qwen")


def test_manifest_cases_are_accepted_and_refused(folder: Path) -> None:
    changes = json.loads((folder / "manifests.json").read_text())["changes"]
    accepted = sum(change["refused"] is None for change in changes)
    assert len(changes) > 1000 and accepted > 100 and len(changes) - accepted > 1000


@pytest.mark.parametrize("source", [(96, 200), (200, 96), (80, 80), (60, 110), (110, 60), (40, 150)])
def test_pillow_resizes_along_the_axis_first_that_kotlin_does(source: tuple[int, int]) -> None:
    """Between the passes values are rounded and clipped to 8 bits: the order shows. `Picture.resized` has the rule."""
    lanczos, (width, height) = Image.Resampling.LANCZOS, source
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    for wide, high in ((64, 64), (30, 90), (90, 30), (100, 100), (75, 55), (20, 60)):
        columns_first = height > high and height - high > 2 * (width - wide)
        between = (width, high) if columns_first else (wide, height)
        expected = picture.resize(between, lanczos).resize((wide, high), lanczos)
        np.testing.assert_array_equal(np.asarray(picture.resize((wide, high), lanczos)), np.asarray(expected))


def test_the_command_writes_and_does_not_replace_what_is_not_its_own(run, tmp_path: Path) -> None:
    tokenizer = write_published_tokenizer(tmp_path)
    out = tmp_path / "golden"
    assert run("golden", out, "--tokenizer", f"qwen={tokenizer}", "--json").data["files"] == listed(out)
    assert "exists already" in run("golden", out).err
    assert run("golden", out, "--force").code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    assert run("golden", other, "--force").code == 1 and (other / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("option", ["qwen", "qwen=", "=a.json", "a b=c"])
def test_a_tokenizer_without_a_name_or_path_is_refused(run, tmp_path: Path, option: str) -> None:
    found = run("golden", tmp_path / "golden", "--tokenizer", option)
    assert found.code == 1 and "NAME=PATH" in found.err and not list(tmp_path.iterdir())


def test_a_bundle_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        write_golden(tmp_path / "golden", {}, tmp_path)
    assert not list(tmp_path.iterdir())
