"""Finding, checking and loading checkpoints. Oracle for tensor values: the safetensors library."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import (
    TEXT_FILE,
    UNET_FILE,
    change_json,
    change_tensors,
    checkpoint_of,
    copy_of_tiny,
    replace_file,
    tiny_checkpoint,
)
from safetensors.torch import load_file, save_file

from dreamlite_mobile.checkpoint import EMBEDDING, open_checkpoint
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.networks import SOURCES, build
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.tensorfiles import TensorPlan, write_tensors

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(folder)
    return str(error.value)


def test_opens_what_make_checkpoint_writes() -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    assert checkpoint.config == TINY
    assert checkpoint.tokenizer == tiny_checkpoint() / "tokenizer/tokenizer.json"


@pytest.mark.parametrize("network", SOURCES)
def test_every_network_is_filled_with_the_stored_values(network: str) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    module = checkpoint.load(network, build(network, checkpoint.config, REFERENCE))
    source = SOURCES[network]
    (file,) = (tiny_checkpoint() / source.folder).glob("*.safetensors")
    stored = load_file(file)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[source.prefix + name].float()), name


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_any_float_dtype_loads_as_safetensors_reads_it(dtype: torch.dtype, tmp_path: Path) -> None:
    values = {"weight": torch.randn(6, 5).to(dtype), "bias": torch.randn(6).to(dtype)}
    save_file(values, tmp_path / "t.safetensors")
    module = torch.nn.Linear(5, 6, device="meta")
    checkpoint_of(tmp_path / "t.safetensors", TINY).load("unet", module)
    stored = load_file(tmp_path / "t.safetensors")
    assert all(torch.equal(getattr(module, name), stored[name].float()) for name in values)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_tensors_off_their_alignment_load(tmp_path: Path) -> None:
    """safetensors aligns only the whole data block: a byte-sized tensor before a float32 one shifts it."""
    values = {"bias": torch.ones(3).to(torch.float8_e4m3fn), "weight": torch.randn(3, 2)}
    plans = [
        TensorPlan("bias", "F8_E4M3", (3,), lambda: [values["bias"].view(torch.uint8).numpy().tobytes()]),
        TensorPlan("weight", "F32", (3, 2), lambda: [values["weight"].numpy().tobytes()]),
    ]
    write_tensors(tmp_path / "t.safetensors", plans, {})
    module = checkpoint_of(tmp_path / "t.safetensors", TINY).load("unet", torch.nn.Linear(2, 3, device="meta"))
    assert torch.equal(module.weight, values["weight"])
    assert torch.equal(module.bias, torch.ones(3))
    assert module.weight.data_ptr() % 4 == 0


def test_empty_tensors_load(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, 0), "bias": torch.ones(2)}, tmp_path / "t.safetensors")
    module = checkpoint_of(tmp_path / "t.safetensors", TINY).load("unet", torch.nn.Linear(0, 2, device="meta"))
    assert module.weight.shape == (2, 0)


def test_writing_into_loaded_weights_leaves_the_file_alone(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "t.safetensors")
    before = (tmp_path / "t.safetensors").read_bytes()
    module = checkpoint_of(tmp_path / "t.safetensors", TINY).load("unet", torch.nn.Linear(2, 2, device="meta"))
    module.weight.zero_()
    assert (tmp_path / "t.safetensors").read_bytes() == before


def shard(folder: Path, count: int) -> dict[str, str]:
    """Split the text encoder into shards as transformers names them; returns the weight map."""
    stored = load_file(folder / TEXT_FILE)
    (folder / TEXT_FILE).unlink()
    names = sorted(stored)
    weight_map = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        save_file({name: stored[name] for name in names[number::count]}, folder / "text_encoder" / file)
        weight_map |= dict.fromkeys(names[number::count], file)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: Any) -> None:
    index = folder / "text_encoder/model.safetensors.index.json"
    replace_file(index, json.dumps({"metadata": {}, "weight_map": weight_map}).encode())


def test_shards_equal_the_single_file(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    shard(folder, 3)
    sharded, single = open_checkpoint(folder), open_checkpoint(tiny_checkpoint())
    towers = [each.load("text_encoder", build("text_encoder", TINY, REFERENCE)) for each in (sharded, single)]
    states = [tower.state_dict() for tower in towers]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_missing_shard_is_named_once(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    shard(folder, 3)
    (folder / "text_encoder/model-00002-of-00003.safetensors").unlink()
    message = refusal(folder)
    assert "1 missing file. " in message
    assert "model-00002-of-00003.safetensors" in message


def test_tensor_in_another_shard_than_the_index_says(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    weight_map = shard(folder, 2)
    weight_map[EMBEDDING] = next(file for file in weight_map.values() if file != weight_map[EMBEDDING])
    write_index(folder, weight_map)
    message = refusal(folder)
    assert f"not in its shard: text_encoder/{EMBEDDING}" in message
    assert f"unexpected: text_encoder/{EMBEDDING} in" in message


@pytest.mark.parametrize(
    "file", ["../unet/x.safetensors", "/etc/passwd", "sub/x.safetensors", 7, "a.bin", "\0.safetensors"]
)
def test_index_that_leaves_the_folder_is_refused(file: Any, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    weight_map: dict[str, Any] = shard(folder, 1)
    weight_map[EMBEDDING] = file
    write_index(folder, weight_map)
    assert f"{EMBEDDING} into {file!r}" in refusal(folder)


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": null}'])
def test_malformed_index_is_named(index: bytes, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    shard(folder, 1)
    replace_file(folder / "text_encoder/model.safetensors.index.json", index)
    assert "model.safetensors.index.json" in refusal(folder)


def test_all_problems_are_listed_in_one_error(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    changes = {
        "conv_in.weight": None,
        "conv_in.bias": torch.zeros(33),
        "conv_out.bias": torch.zeros(4, dtype=torch.int64),
        "conv_out.extra": torch.zeros(1),
    }
    change_tensors(folder / UNET_FILE, **changes)
    change_tensors(folder / "vae/diffusion_pytorch_model.safetensors", **{"decoder.layers.0.bias": None})
    message = refusal(folder)
    assert "2 missing" in message
    assert "1 wrong shape" in message
    assert "1 wrong dtype" in message
    assert "1 unexpected" in message
    for line in (
        "missing: unet/conv_in.weight [32, 4, 3, 3]",
        "wrong shape: unet/conv_in.bias is [33]; expected [32]",
        "wrong dtype: unet/conv_out.bias is I64",
        "unexpected: unet/conv_out.extra [1]",
        "missing: vae/decoder.layers.0.bias [32]",
    ):
        assert line in message


def test_long_lists_are_told_whole(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    (folder / UNET_FILE).unlink()
    save_file({"alien": torch.zeros(1)}, folder / UNET_FILE)
    message = refusal(folder)
    missing = int(re.findall(r"(\d+) missing", message)[0])
    assert missing == len(open_checkpoint(tiny_checkpoint()).tensors["unet"])
    assert len(message.splitlines()) == 1 + missing + 1


def test_language_head_is_known_and_ignored(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    change_tensors(folder / TEXT_FILE, **{"lm_head.weight": torch.zeros(1024, 128)})
    assert open_checkpoint(folder).config == TINY


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_truncated_file_is_named_without_its_tensors(kept: int, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    data = (folder / UNET_FILE).read_bytes()
    replace_file(folder / UNET_FILE, data[:kept])
    message = refusal(folder)
    assert "1 unreadable file. " in message
    assert UNET_FILE in message
    assert "missing" not in message


def test_not_finite_tensors_are_all_named(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    bad = {
        "conv_in.bias": torch.tensor([0.0] * 16 + [float("nan")] + [0.0] * 15),
        "conv_out.bias": torch.tensor([0.0, 1e300, 0.0, 0.0], dtype=torch.float64),
        "conv_norm_out.bias": torch.tensor([0.0] * 31 + [float("-inf")], dtype=torch.bfloat16),
    }
    change_tensors(folder / UNET_FILE, **bad)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load("unet", build("unet", TINY, REFERENCE))
    assert "3 not finite" in str(error.value)
    assert all(name in str(error.value) for name in bad)


def test_loading_into_another_network_is_refused() -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    other = build("unet", replace(TINY, unet=replace(TINY.unet, ff_mult=2)), REFERENCE)
    with pytest.raises(CheckpointError, match="wrong shape: unet/.*ff.net"):
        checkpoint.load("unet", other)


def test_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'unet'"):
        open_checkpoint(tiny_checkpoint()).load("unett", torch.nn.Linear(1, 1))


def test_file_cut_after_opening_is_refused(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    checkpoint = open_checkpoint(folder)
    replace_file(folder / UNET_FILE, (folder / UNET_FILE).read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="was cut to 100000 bytes"):
        checkpoint.load("unet", build("unet", TINY, REFERENCE))


def test_weights_under_another_name_are_mentioned(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    (folder / UNET_FILE).rename(folder / "unet/diffusion_pytorch_model.fp16.safetensors")
    assert "found only diffusion_pytorch_model.fp16.safetensors" in refusal(folder)


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    for name in ("tokenizer", "processor"):
        (folder / name / "tokenizer.json").unlink()
    assert "tokenizer/tokenizer.json" in refusal(folder)


@pytest.mark.parametrize(("dtype", "stored"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_embedding_rows_are_the_stored_bytes(dtype: str, stored: torch.dtype, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    table = load_file(folder / TEXT_FILE)[EMBEDDING].to(stored)
    change_tensors(folder / TEXT_FILE, **{EMBEDDING: table})
    rows = open_checkpoint(folder).embedding_rows()
    assert (rows.dtype, rows.shape) == (dtype, (1024, 128))
    assert b"".join(rows.chunks(rows=100)) == table.view(torch.uint8).numpy().tobytes()
    assert torch.equal(torch.from_numpy(rows.lookup([3, 1023, 3])), table[[3, 1023, 3]].float())


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [(torch.float64, "float32"), (torch.float32, "float32"), (torch.float8_e4m3fn, "float16")],
    ids=str,
)
def test_embedding_rows_of_other_dtypes_are_widened(stored: torch.dtype, dtype: str, tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    table = load_file(folder / TEXT_FILE)[EMBEDDING].to(stored)
    change_tensors(folder / TEXT_FILE, **{EMBEDDING: table})
    rows = open_checkpoint(folder).embedding_rows()
    read = torch.frombuffer(bytearray(b"".join(rows.chunks())), dtype=getattr(torch, dtype)).view(1024, 128)
    assert rows.dtype == dtype
    assert torch.equal(read.double(), table.double() if stored != torch.float64 else table.float().double())


def test_embedding_rows_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    table = load_file(folder / TEXT_FILE)[EMBEDDING]
    table[700, 3] = float("inf")
    change_tensors(folder / TEXT_FILE, **{EMBEDDING: table})
    with pytest.raises(CheckpointError, match="rows 600 to 799"):
        list(open_checkpoint(folder).embedding_rows().chunks(rows=200))


@pytest.mark.parametrize("token", [-1, 1024])
def test_token_outside_the_embedding_table_is_refused(token: int) -> None:
    with pytest.raises(CheckpointError, match=str(token)):
        open_checkpoint(tiny_checkpoint()).embedding_rows().lookup([0, token])


def test_config_that_names_other_shapes_is_refused(tmp_path: Path) -> None:
    folder = copy_of_tiny(tmp_path)
    change_json(folder / "unet/config.json", "ff_mult", value=2)
    assert "wrong shape: unet/down_blocks" in refusal(folder)
