"""Damaged tensor files: whatever the bytes, opening ends in a CheckpointError, and whole files always open."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import UNET_FILE, copy_of_tiny, raw_tensor_file, replace_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, save

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.tensorfiles import FLOATS, LONGEST_HEADER, MappedFile, read_header

TORCH_NAMES = {dtype: name for name, dtype in FLOATS.items()}
SLOW_MACHINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
many = settings(max_examples=300, deadline=None, suppress_health_check=SLOW_MACHINE)


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def refusal(file: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_header(file)
    return str(error.value)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    names = draw(st.lists(st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"), unique=True))
    found = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=5))
        found[name] = torch.randn(shape).to(draw(st.sampled_from(list(FLOATS.values()))))
    return found


def encodable(names: Any) -> bool:
    return all(name.isascii() or name.encode("utf-8", "ignore").decode() == name for name in names)


@many
@given(tensors(), st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2))
def test_whole_files_are_read_as_safetensors_reads_them(
    tmp_path: Path, stored: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    if not encodable([*stored, *metadata, *metadata.values()]):
        return
    file = tmp_path / "t.safetensors"
    file.write_bytes(save(stored, metadata or None))
    header = read_header(file)
    assert {name: (FLOATS[found.dtype], found.shape) for name, found in header.entries.items()} == {
        name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in stored.items()
    }
    mapped = MappedFile(file)
    for name, tensor in stored.items():
        assert torch.equal(mapped.float32(header.entries[name]), tensor.float())


SAMPLE = save({"weight": torch.randn(3, 5), "bias": torch.randn(3).half(), "scale": torch.randn(2).bfloat16()})
HEADER_LENGTH = struct.unpack("<Q", SAMPLE[:8])[0]


@many
@given(st.integers(0, len(SAMPLE) - 1))
def test_truncated_anywhere(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "t.safetensors"
    file.write_bytes(SAMPLE[:kept])
    assert str(file) in refusal(file)


@many
@given(st.binary(min_size=1, max_size=64))
def test_bytes_after_the_last_tensor(tmp_path: Path, extra: bytes) -> None:
    file = tmp_path / "t.safetensors"
    file.write_bytes(SAMPLE + extra)
    assert "data bytes" in refusal(file)


@many
@given(st.lists(st.integers(0, (8 + HEADER_LENGTH) * 8 - 1), min_size=1, max_size=4, unique=True))
def test_flipped_bits_in_the_header_are_refused_or_harmless(tmp_path: Path, bits: list[int]) -> None:
    """Harmless: safetensors itself reads the file and finds the same names, dtypes and shapes."""
    data = bytearray(SAMPLE)
    for bit in bits:
        data[bit // 8] ^= 1 << bit % 8
    file = tmp_path / "t.safetensors"
    file.write_bytes(bytes(data))
    try:
        found = read_header(file).entries
    except CheckpointError as error:
        assert str(file) in str(error)
        return
    if any(one.dtype not in FLOATS for one in found.values()):
        return
    loaded = load(bytes(data))
    assert {name: (TORCH_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in loaded.items()} == {
        name: (one.dtype, one.shape) for name, one in found.items()
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["F32", "F16", "I64", "X9", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "w", "__metadata__"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@many
@given(JSON, st.binary(max_size=16))
def test_any_json_in_the_header(tmp_path: Path, header: Any, data: bytes) -> None:
    """What is accepted here, safetensors accepts as well: never laxer than the format's own library."""
    file = raw_tensor_file(tmp_path / "t.safetensors", json.dumps(header).encode(), data)
    try:
        found = read_header(file).entries
    except CheckpointError:
        return
    if all(one.dtype in FLOATS for one in found.values()):
        assert load(file.read_bytes()).keys() == found.keys()


@many
@given(st.binary(max_size=80))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "t.safetensors"
    file.write_bytes(data)
    try:
        found = read_header(file).entries
    except CheckpointError:
        return
    assert load(data).keys() == found.keys()


extents = st.lists(st.integers(0, 2**70), max_size=4)


@many
@given(st.lists(st.tuples(extents, st.lists(st.integers(0, 60), min_size=2, max_size=2)), max_size=4))
def test_offsets_and_shapes_of_any_size(tmp_path: Path, drawn: list[tuple[list[int], list[int]]]) -> None:
    header = {f"t{index}": entry("F16", shape, offsets) for index, (shape, offsets) in enumerate(drawn)}
    file = raw_tensor_file(tmp_path / "t.safetensors", json.dumps(header).encode(), bytes(60))
    try:
        found = read_header(file).entries
    except CheckpointError:
        return
    assert load(file.read_bytes()).keys() == found.keys()


@pytest.mark.parametrize(
    ("header", "data", "fault"),
    [
        ({"a": entry(), "b": entry(offsets=(4, 12))}, 12, "'b' overlaps the tensor before it"),
        ({"a": entry(), "b": entry(offsets=(0, 8))}, 8, "overlaps the tensor before it"),
        ({"a": entry(), "b": entry(offsets=(9, 17))}, 17, "'b' leaves a gap before it"),
        ({"a": entry(offsets=(4, 12))}, 12, "'a' leaves a gap before it"),
        ({"a": entry()}, 4, "truncated: its tensors need 8 bytes, 4 are there"),
        ({"a": entry()}, 9, "its tensors end at 8 of 9 data bytes"),
        ({"a": entry(offsets=(8, 0))}, 8, "ends before it begins"),
        ({"a": entry(dtype="F16")}, 8, "'a' is F16 [2], 4 bytes, but its data_offsets [0, 8] hold 8"),
        ({"a": entry(shape=(-2,))}, 8, "malformed"),
        ({"a": entry(shape=(True,))}, 8, "malformed"),
        ({"a": entry(shape=(2.0,))}, 8, "malformed"),
        ({"a": entry(offsets=(0, 8, 8))}, 8, "malformed"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "does not give dtype, shape and data_offsets of 'a'"),
        ({"a": None}, 0, "does not give dtype, shape and data_offsets of 'a'"),
        ({"__metadata__": {"a": 1}}, 0, "__metadata__"),
        ([], 0, "not a JSON object"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_fault_is_named(header: Any, data: int, fault: str, tmp_path: Path) -> None:
    file = raw_tensor_file(tmp_path / "t.safetensors", json.dumps(header).encode(), bytes(data))
    assert fault in refusal(file)
    with pytest.raises(SafetensorError):
        load(file.read_bytes())


def test_unknown_field_is_refused(tmp_path: Path) -> None:
    """Stricter than safetensors, which skips it: what a later format may mean by it is not known here."""
    file = raw_tensor_file(tmp_path / "t.safetensors", json.dumps({"a": {**entry(), "more": 1}}).encode(), bytes(8))
    assert "does not give dtype, shape and data_offsets of 'a'" in refusal(file)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a": ' * 200_000, b"NaN", b"1" * 5000])
def test_header_that_is_no_json(raw: bytes, tmp_path: Path) -> None:
    assert "JSON" in refusal(raw_tensor_file(tmp_path / "t.safetensors", raw, b""))


def test_name_given_twice(tmp_path: Path) -> None:
    one = json.dumps(entry())
    header = f'{{"a": {one}, "a": {one}}}'.encode()
    assert "named twice: a" in refusal(raw_tensor_file(tmp_path / "t.safetensors", header, bytes(8)))


@pytest.mark.parametrize("length", [LONGEST_HEADER + 1, 2**63, 2**64 - 1])
def test_huge_header_length_is_refused_without_reading(length: int, tmp_path: Path) -> None:
    file = raw_tensor_file(tmp_path / "t.safetensors", b"{}", b"", length=length)
    assert f"claims {length} bytes" in refusal(file)


def test_huge_header_is_refused_even_where_the_file_is_as_long(tmp_path: Path) -> None:
    file = raw_tensor_file(tmp_path / "t.safetensors", b"{}", b"", length=LONGEST_HEADER + 1)
    os.truncate(file, LONGEST_HEADER + 100)
    assert f"supported: at most {LONGEST_HEADER}" in refusal(file)


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", ["I64", "BOOL", "X9"])
def test_whole_file_of_another_dtype_is_left_to_the_caller(dtype: str, tmp_path: Path) -> None:
    """A header may hold integers; that weights may not is said together with everything else about them."""
    shape = (1,) if dtype != "BOOL" else (8,)
    header = json.dumps({"a": entry(dtype, shape)}).encode()
    file = raw_tensor_file(tmp_path / "t.safetensors", header, bytes(8))
    assert read_header(file).entries["a"].dtype == dtype


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(st.data())
def test_checkpoint_with_a_damaged_header_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Any change of the U-Net's header that is not white space: the tensors no longer match the configuration."""
    if not (tmp_path / "copy").exists():
        copy_of_tiny(tmp_path)
    folder = tmp_path / "copy"
    original = (folder / UNET_FILE).read_bytes()
    length = struct.unpack("<Q", original[:8])[0]
    damaged = bytearray(original)
    metadata_end = original.index(b"}", 8)
    position = data.draw(st.one_of(st.integers(0, 7), st.integers(metadata_end + 1, 7 + length)))
    flipped = damaged[position] ^ (1 << data.draw(st.integers(0, 7)))
    if chr(damaged[position]).isspace() and chr(flipped) in " \t\r\n":
        return
    damaged[position] = flipped
    replace_file(folder / UNET_FILE, bytes(damaged))
    try:
        with pytest.raises(CheckpointError, match="unet"):
            open_checkpoint(folder)
    finally:
        replace_file(folder / UNET_FILE, original)
