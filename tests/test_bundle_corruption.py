"""Generated corruptions of a bundle: always a BundleError, never another exception, never silence."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_bundle import manifest_data, sign, write_bundle

from dreamlite_mobile.bundle import open_bundle, verify_bundle
from dreamlite_mobile.errors import BundleError

FILES = ("manifest.json", "manifest.sha256", "unet.pte", "tokenizer.json", "tables/embeddings.bin")
EXAMPLES = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["../x", "/etc/passwd", "a\\b", "..", "x/../../y", "C:/x", "unet.pte", "\0", "{}", "generate"]),
    st.lists(st.integers(-2, 5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("pristine") / "bundle")


@pytest.fixture
def spoilt(pristine: Path, tmp_path: Path) -> Path:
    """A copy to spoil; every example restores the file it touched."""
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside nested JSON."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def holder(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


def mutated(data: dict[str, Any], draw: st.DataObject) -> dict[str, Any]:
    """The manifest with one value removed, replaced, renamed, doubled or accompanied by a stranger."""
    changed = copy.deepcopy(data)
    path = draw.draw(st.sampled_from(list(places(changed))), label="place")
    inside, key = holder(changed, path), path[-1]
    kind = draw.draw(st.sampled_from(["remove", "replace", "rename", "add"]), label="kind")
    if kind == "remove":
        del inside[key]
    elif kind == "replace":
        inside[key] = draw.draw(VALUES, label="value")
    elif isinstance(inside, list):
        inside.append(inside[key])
    elif kind == "rename":
        inside[draw.draw(st.text(max_size=8), label="name")] = inside.pop(key)
    else:
        inside[draw.draw(st.text(min_size=1, max_size=8), label="name")] = draw.draw(VALUES, label="value")
    return changed


def repeats(found: Any, said: Any) -> bool:
    """Whether everything `said` stands in `found`; optional keys that were left out may have been filled in."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(key in found and repeats(found[key], said[key]) for key in said)
    if isinstance(said, list):
        return isinstance(found, list) and len(found) == len(said) and all(map(repeats, found, said))
    return bool(found == said) and isinstance(found, bool) == isinstance(said, bool)


def test_the_pristine_copy_opens(spoilt: Path) -> None:
    assert verify_bundle(spoilt) == []


@EXAMPLES
@given(draw=st.data())
def test_a_mutated_manifest_raises_nothing_but_bundle_errors(spoilt: Path, pristine: Path, draw: st.DataObject) -> None:
    changed = mutated(manifest_data(pristine), draw)
    (spoilt / "manifest.json").write_text(json.dumps(changed))
    sign(spoilt)
    try:
        bundle = open_bundle(spoilt, verify="quick")
    except BundleError as error:
        assert str(spoilt) in str(error)
    else:
        assert repeats(bundle.manifest.model_dump(mode="json"), changed)


@EXAMPLES
@given(draw=st.data())
def test_an_unsigned_mutation_is_always_refused(spoilt: Path, pristine: Path, draw: st.DataObject) -> None:
    original = manifest_data(pristine)
    changed = mutated(original, draw)
    (spoilt / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(BundleError):
        open_bundle(spoilt, verify="quick")


@EXAMPLES
@given(draw=st.data())
def test_missing_and_strange_keys_are_always_refused(spoilt: Path, pristine: Path, draw: st.DataObject) -> None:
    optional = {"documents", "revision", "delegates", "operators_outside", "torchao", "onnx"}
    optional |= {
        "traffic",
        "htp",
        "coreml",
        "coremltools",
        "then",
        "shards",
        "ios",
        "macos",
        "qnn",
        "onnxruntime",
        "executorch",
        "dtype",
        "rows",
        "row_rule",
        "prefix_tokens",
        "vision_encoder",
        "vae_encoder",
        "1",
    }
    changed = manifest_data(pristine)
    paths = [path for path in places(changed) if isinstance(path[-1], str) and path[-1] not in optional]
    path = draw.draw(st.sampled_from(paths), label="place")
    inside = holder(changed, path)
    if draw.draw(st.booleans(), label="remove"):
        del inside[path[-1]]
    else:
        inside["stranger"] = inside[path[-1]]
    (spoilt / "manifest.json").write_text(json.dumps(changed))
    sign(spoilt)
    with pytest.raises(BundleError):
        open_bundle(spoilt, verify="quick")


@EXAMPLES
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(spoilt: Path, pristine: Path, name: str, place: float, bit: int) -> None:
    data = bytearray((pristine / name).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    (spoilt / name).write_bytes(data)
    with pytest.raises(BundleError):
        open_bundle(spoilt)
    shutil.copyfile(pristine / name, spoilt / name)


@EXAMPLES
@given(name=st.sampled_from(FILES), share=st.floats(0, 1, exclude_max=True), more=st.binary(max_size=4))
def test_any_truncation_or_extension_is_refused(
    spoilt: Path, pristine: Path, name: str, share: float, more: bytes
) -> None:
    data = (pristine / name).read_bytes()
    changed = data + more if more else data[: int(share * len(data))]
    (spoilt / name).write_bytes(changed)
    with pytest.raises(BundleError):
        open_bundle(spoilt)
    shutil.copyfile(pristine / name, spoilt / name)


@EXAMPLES
@given(raw=st.binary(max_size=200))
def test_any_bytes_as_a_manifest_are_refused(spoilt: Path, raw: bytes) -> None:
    (spoilt / "manifest.json").write_bytes(raw)
    sign(spoilt)
    with pytest.raises(BundleError):
        open_bundle(spoilt)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(spoilt: Path, name: str) -> None:
    (spoilt / name).unlink()
    with pytest.raises(BundleError, match=name):
        open_bundle(spoilt)


@pytest.mark.parametrize("name", [".DS_Store", "manifest.json~", "tables/more.bin", "empty/", "tables/deep/"])
def test_anything_extra_is_named(spoilt: Path, name: str) -> None:
    if name.endswith("/"):
        (spoilt / name).mkdir()
    else:
        (spoilt / name).write_bytes(b"")
    with pytest.raises(BundleError, match=name.rstrip("/")):
        open_bundle(spoilt)
