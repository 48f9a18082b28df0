"""Finished components that outlive the export that made them, and exports that come out the same each time."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundles import SIZE
from checkpoint_files import UNET_FILE, change_tensors, copy_of_tiny, replace_file, tiny_checkpoint

from benchmarks import resumed_export
from benchmarks.resumed_export import digests
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import OutputError
from dreamlite_mobile.synthetic import make_checkpoint
from export import parts
from export.backends import Written
from export.driver import ExportRequest, Plan, plan_export, run_export
from export.parts import key_of
from export.pieces import RECORD, Pieces, Record

SMALL = ("vae_encoder", "vae_decoder")


def request(cache: Path | None, **changes: object) -> ExportRequest:
    asked = {
        "checkpoint": open_checkpoint(tiny_checkpoint()),
        "source": "tiny",
        "backend": "onnx",
        "width": SIZE,
        "height": SIZE,
        "components": SMALL,
        "cache": cache,
    }
    return ExportRequest(**(asked | changes))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache and the bundle that filled it."""
    folder = tmp_path_factory.mktemp("pieces")
    run_export(plan_export(request(folder / "cache")), folder / "bundle")
    return folder


def test_a_second_export_lowers_nothing_and_gives_the_same_bytes(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(parts, "lower")
    told: list[str] = []
    done = run_export(plan_export(request(filled / "cache")), tmp_path / "bundle", notify=told.append)
    assert digests(tmp_path / "bundle") == digests(filled / "bundle")
    assert not done.costs and [text for text in told if "finished before" in text] == [
        f"{name} (fp32, finished before)" for name in SMALL
    ]


def test_a_damaged_piece_is_made_again(filled: Path, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(filled / "cache", tmp_path / "cache"))
    first, second = (key_of(plan_export(request(cache)), name) for name in SMALL)
    spoilt = next(file for file in (cache / first).iterdir() if file.name != RECORD)
    spoilt.write_bytes(b"\0" * spoilt.stat().st_size)
    (cache / second / RECORD).write_text("{")
    assert Pieces(cache).find(first, Record) is None and Pieces(cache).find(second, Record) is None
    done = run_export(plan_export(request(cache)), tmp_path / "bundle")
    assert set(done.costs) == set(SMALL)
    assert digests(tmp_path / "bundle") == digests(filled / "bundle")
    assert digests(cache) == digests(filled / "cache")


def test_what_changes_a_component_changes_its_key(tmp_path: Path) -> None:
    other = open_checkpoint(make_checkpoint("tiny", 1, tmp_path / "other"))
    keys = [
        key_of(plan_export(request(tmp_path, components=("unet",), **changes)), "unet")
        for changes in (
            {},
            {"checkpoint": other},
            {"width": SIZE + 32},
            {"modes": ("edit",)},
            {"backend": "xnnpack"},
            {"backend": "xnnpack", "precision": "w8"},
            {"backend": "coreml"},
            {"backend": "coreml", "package_mb": 3},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == key_of(plan_export(request(None, components=("unet", "vae_decoder"))), "unet")


def keys_of(tmp_path: Path, checkpoint: Path, **changes: object) -> dict[str, str]:
    plan = plan_export(request(tmp_path, components=None, checkpoint=open_checkpoint(checkpoint), **changes))
    return {name: key_of(plan, name) for name in plan.specs}


def same_keys(tmp_path: Path, checkpoint: Path, **changes: object) -> set[str]:
    """The components that come out as the tiny checkpoint's."""
    plain, other = (keys_of(tmp_path, folder, **changes) for folder in (tiny_checkpoint(), checkpoint))
    return {name for name in plain if plain[name] == other[name]}


def test_a_fine_tuned_unet_leaves_the_other_components_as_they_are(tmp_path: Path) -> None:
    """But where ranges are calibrated, pictures of all components together decide: nothing is kept."""
    folder = copy_of_tiny(tmp_path)
    change_tensors(folder / UNET_FILE, **{"conv_out.bias": torch.full((4,), 0.5)})
    others = {"text_encoder", "vision_encoder", "vae_encoder", "vae_decoder"}
    assert same_keys(tmp_path, folder) == same_keys(tmp_path, folder, backend="qnn", precision="fp16") == others
    assert same_keys(tmp_path, folder, backend="qnn", precision="w8a16") == set()


def test_another_tokenizer_counts_where_the_tower_was_asked_prompts(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    replace_file(tokenizer, tokenizer.read_bytes() + b"\n")
    assert "text_encoder" in same_keys(tmp_path, folder)
    kept = same_keys(tmp_path, folder, backend="qnn", precision="fp16")
    assert kept == {"unet", "vision_encoder", "vae_encoder", "vae_decoder"}


def test_a_full_disk_keeps_what_is_finished(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the second component is written."""
    cache, lower = tmp_path / "cache", parts.lower

    def full(plan: Plan, name: str, folder: Path) -> Written:
        if name == SMALL[1]:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / name))
        return lower(plan, name, folder)

    monkeypatch.setattr(parts, "lower", full)
    with pytest.raises(OutputError, match="No space left on device"):
        run_export(plan_export(request(cache)), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists() and len(list(cache.iterdir())) == 1
    monkeypatch.setattr(parts, "lower", lower)
    done = run_export(plan_export(request(cache)), tmp_path / "bundle")
    assert set(done.costs) == {SMALL[1]}
    assert digests(tmp_path / "bundle") == digests(filled / "bundle")


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"--cache .*file/cache: cannot be made: Not a directory"):
        run_export(plan_export(request(tmp_path / "file" / "cache", components=("vae_encoder",))), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("backend", "precision", "components"),
    [("xnnpack", "w8", ("vision_encoder",)), ("coreml", "w8", ("vae_decoder",)), ("onnx", None, SMALL)],
)
def test_another_process_exports_the_same_bytes(
    tmp_path: Path, backend: str, precision: str | None, components: tuple[str, ...]
) -> None:
    """With other hashes of strings and another number of threads."""
    asked = replace(request(None), backend=backend, precision=precision, components=components)
    run_export(plan_export(asked), tmp_path / "here")
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export", str(tiny_checkpoint())]
    options = {"--out": tmp_path / "there", "--backend": backend, "--size": SIZE, "--components": ",".join(components)}
    options |= {} if precision is None else {"--precision": precision}
    subprocess.run(
        [*command, *(str(part) for option in options.items() for part in option)],
        env=os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"},
        check=True,
        capture_output=True,
    )
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_exports_killed_at_random_end_in_the_bytes_of_an_undisturbed_one() -> None:
    command = [sys.executable, "-m", "benchmarks.resumed_export", str(tiny_checkpoint()), "--kills", "6"]
    done = subprocess.run([*command, "--backend", "onnx"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 6 and found["finished"] >= 1 and found["different"] == found["left"] == []


def test_pieces_that_an_export_finds_finished_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is killed when both components are in the cache; the next takes them."""

    def forked(asked: ExportRequest, out: Path, lasting: float | None) -> bool:
        run_export(plan_export(asked), out)
        if lasting is not None:
            shutil.rmtree(out)
        return lasting is None

    monkeypatch.setattr(resumed_export, "forked", forked)
    found = resumed_export.run(request(None), kills=1, seed=0, folder=tmp_path)
    assert (found["kills"], found["finished"], found["taken"]) == (1, 1, len(SMALL))
