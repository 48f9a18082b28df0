"""What reading every byte of a checkpoint tells: its identity, and what is not finite."""

import hashlib
import threading
import time
from pathlib import Path

import pytest
import torch
from checkpoint_files import TEXT_FILE, UNET_FILE, change_tensors, copy_of_tiny, replace_file, tiny_checkpoint

from dreamlite_mobile.checkpoint import EMBEDDING, open_checkpoint
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.synthetic import make_checkpoint


def test_reading_everything_names_what_is_not_finite_in_all_components(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    change_tensors(folder / UNET_FILE, **{"conv_in.bias": torch.full((32,), float("inf"))})
    change_tensors(folder / TEXT_FILE, **{EMBEDDING: torch.full((1024, 128), float("nan"))})
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(folder).check()
    assert "2 not finite" in str(error.value) and EMBEDDING in str(error.value) and "conv_in.bias" in str(error.value)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_every_byte_of_a_tensor_counts_for_the_identity(place: str, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    original = open_checkpoint(folder)
    entry = max(original.tensors["unet"].values(), key=lambda entry: entry.stop - entry.start)
    data = bytearray((folder / UNET_FILE).read_bytes())
    at = {"first": entry.start, "middle": (entry.start + entry.stop) // 2, "last": entry.stop - 1}[place]
    before = original.identity
    data[at] ^= 1
    replace_file(folder / UNET_FILE, bytes(data))
    assert open_checkpoint(folder).identity != before


def test_reading_everything_reports_its_progress() -> None:
    checkpoint, seen = open_checkpoint(tiny_checkpoint()), []
    assert checkpoint.check(seen.append) == checkpoint.identity
    assert sum(seen) == checkpoint.total_bytes


def test_interrupting_it_ends_both_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, interrupted, looked_at = open_checkpoint(tiny_checkpoint()), threading.Event(), []

    def looks(values: torch.Tensor) -> bool:
        interrupted.wait(20)
        time.sleep(0.005)
        looked_at.append(values.numel())
        return True

    def interrupt(_done: int) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("dreamlite_mobile.checkpoint.finite", looks)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.check(interrupt)
    assert len(looked_at) < sum(map(len, checkpoint.tensors.values())) / 10


@pytest.mark.parametrize("file", [UNET_FILE, TEXT_FILE, "unet/config.json", "tokenizer/tokenizer.json"])
def test_identity_follows_the_contents(file: str, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    original = open_checkpoint(tiny_checkpoint())
    assert open_checkpoint(folder).identity == original.identity
    data = bytearray((folder / file).read_bytes())
    if file.endswith(".json"):
        data += b" "
    else:
        data[next(iter(original.tensors[file.split("/", maxsplit=1)[0]].values())).start] ^= 1
    replace_file(folder / file, bytes(data))
    assert open_checkpoint(folder).identity != original.identity


def test_digests_are_those_of_the_files() -> None:
    digests = open_checkpoint(tiny_checkpoint()).digests()
    assert {"model_index.json", UNET_FILE, TEXT_FILE, "tokenizer/tokenizer.json"} <= digests.keys()
    for name, digest in digests.items():
        assert hashlib.sha256((tiny_checkpoint() / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("seed", [1])
def test_checkpoints_of_other_seeds_have_another_identity(seed: int, tmp_path: Path) -> None:
    other = make_checkpoint("tiny", seed, tmp_path / "other")
    assert open_checkpoint(other).identity != open_checkpoint(tiny_checkpoint()).identity
