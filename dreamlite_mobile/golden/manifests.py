"""What the manifest's reader accepts and refuses: one sound manifest and many that differ from it in one place."""

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamlite_mobile.bundle_checks import DIGEST_NAME, MANIFEST_NAME, geometry
from dreamlite_mobile.bundle_files import digest_line, read_manifest
from dreamlite_mobile.bundle_schema import Manifest
from dreamlite_mobile.components import SIZED, component_specs, size_suffix
from dreamlite_mobile.errors import BundleError

Place = tuple[str | int, ...]
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 7, 2.5, 4.0, "", "x", "4", [], {}, [1], {"x": 1})
"""What stands in for every value in turn."""
KEPT_STEPS = ("1", "4")
PATHS = (
    "../a", "/a", "a/../b", "a//b", "./a", "a\\b", "a b", "-a", ".a", "a.", "a/", "ä", "a\u0000", "C:a", "a" * 241,
    "a/b", "a", "UNET.pte",
)  # fmt: skip
NOT_JSON = (
    "", "{", "[]", "null", "4", "\ufeff{}", "{'a': 1}", '{"a": 1,}', '{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}',
    '{"a": 1, "a": 2}', '{"a": "\\ud800"}', '{"a": "\n"}', '{"a": 01}', '{"a": +1}', '{"a": .5}', '{"a": 1.}', "{} x",
    '{"a": tru}', '{"schema_version": 5}', '{"schema_version": 0}', '{"schema_version": "1"}', '{"schema_version": 1}',
)  # fmt: skip


def manifest_cases(bundle: Path) -> dict[str, Any]:
    """The bundle's manifest (with fewer sigma tables) and changes to it, each with Python's verdict.

    A change is {path, value} or {path, delete}; `texts` are whole documents that are refused. `sharded`: the same of a
    manifest whose U-Net is cut into two programs, changed where they are described. `sized`: of one with two sizes,
    changed where the second one and its methods are.

    Raises:
        BundleError: the bundle's own manifest is not sound.
    """
    read_manifest(bundle)
    base = json.loads((bundle / MANIFEST_NAME).read_text())
    size = base["sizes"][0]
    size["sigmas"] = {steps: size["sigmas"][steps] for steps in KEPT_STEPS}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        assert verdict(place, json.dumps(base)) is None
        changes = [_judged(place, base, change) for change in _changes(base)]
        texts = [{"text": text, "refused": verdict(place, text)} for text in NOT_JSON]
        cut = sharded(base)
        assert verdict(place, json.dumps(cut)) is None
        sharded_changes = [_judged(place, cut, change) for change in _sharded_changes(cut)]
        two = sized(base)
        assert verdict(place, json.dumps(two)) is None
        sized_changes = [_judged(place, two, change) for change in _sized_changes(two)]
    return {
        "base": base,
        "changes": changes,
        "texts": texts,
        "sharded": {"base": cut, "changes": sharded_changes},
        "sized": {"base": two, "changes": sized_changes},
    }


def sharded(base: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a U-Net of two programs, the first of which hands `middle` on to the second.

    Nothing in it is one object in two places: a change is made in one place only.
    """
    cut = copy.deepcopy(base)
    unet = cut["components"]["unet"]
    second = "unet.2.pte"
    cut["files"][second] = {"bytes": 1, "sha256": "0" * 64}
    unet["files"].append(second)
    for method in unet["methods"].values():
        middle = {"name": "middle", "shape": [1, 4, 8], "dtype": "float16"}
        given = [{"name": item["name"], "shape": item["shape"], "dtype": "float32"} for item in method["inputs"]]
        made = [{"name": item["name"], "shape": item["shape"], "dtype": "float32"} for item in method["outputs"]]
        method["then"] = [second]
        method["shards"] = [{"inputs": given, "outputs": [middle]}, {"inputs": [middle, given[0]], "outputs": made}]
    distinct: dict[str, Any] = json.loads(json.dumps(cut))
    return distinct


def _sharded_changes(cut: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of the first method's programs and of what each of them takes and gives."""
    name, method = next(iter(cut["components"]["unet"]["methods"].items()))
    stem: Place = ("components", "unet", "methods", name)
    spots: list[Place] = [("then",), *(("shards", index) for index in range(2))]
    for spot in spots:
        node: Any = method
        for part in spot:
            node = node[part]
        for change in changes({"root": node}):
            yield {**change, "path": (*stem, *spot, *change["path"][1:])}
    yield {"path": (*stem, "shards"), "value": method["shards"][::-1]}
    yield {"path": (*stem, "shards"), "value": method["shards"][:1]}
    yield {"path": (*stem, "shards"), "value": []}
    yield {"path": (*stem, "then"), "value": []}
    for key, value in (("name", "other"), ("shape", [2, 3]), ("dtype", "float32")):
        shards = copy.deepcopy(method["shards"])
        shards[0]["outputs"][0][key] = shards[1]["inputs"][0][key] = value
        yield {"path": (*stem, "shards"), "value": shards}


def sized(base: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a second size, one multiple higher than the first, and its methods and step table."""
    two: dict[str, Any] = copy.deepcopy(base)
    manifest = Manifest.model_validate_json(json.dumps(base))
    shape = geometry(manifest)
    second = (shape.width, shape.height + shape.config.size_multiple)
    suffix = size_suffix(second, shape.sizes[0])
    table = f"step_embeddings{suffix}.bin"
    first = two["sizes"][0]
    two["sizes"].append(copy.deepcopy(first) | {"width": second[0], "height": second[1]})
    two["sizes"][1]["step_embeddings"]["file"] = table
    two["files"][table] = dict(two["files"][first["step_embeddings"]["file"]])
    for name, spec in component_specs(shape.at(second), manifest.modes, [*SIZED]).items():
        methods = two["components"][name]["methods"]
        for call, method in spec.methods.items():
            entry = methods[call + suffix] = copy.deepcopy(methods[call])
            for side, tensors in (("inputs", method.inputs), ("outputs", method.outputs)):
                for listed, tensor in zip(entry[side], tensors, strict=True):
                    listed["shape"] = list(tensor.shape)
    return two


def _sized_changes(two: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of the second size and of its first U-Net method, and sizes that are not those of the methods."""
    unet = two["components"]["unet"]["methods"]
    first = next(iter(unet))
    name = next(one for one in unet if one.startswith(f"{first}_"))
    for stem, node in ((("sizes", 1), two["sizes"][1]), (("components", "unet", "methods", name), unet[name])):
        for change in changes({"root": node}):
            yield {**change, "path": (*stem, *change["path"][1:])}
    yield {"path": ("components", "unet", "methods", name), "value": unet[first]}
    yield {"path": ("components", "unet", "methods", f"{first}_1x1"), "value": unet[name]}
    yield {"path": ("components", "text_encoder", "methods", name), "value": unet[name]}
    one, other = two["sizes"]
    for sizes in ([other, one], [one, one], [one], [one, other, one], [one] * 17, [one, other | {"height": 1}]):
        yield {"path": ("sizes",), "value": sizes}
    yield {"path": ("sizes", 1, "step_embeddings", "file"), "value": one["step_embeddings"]["file"]}
    yield {"path": ("sizes", 1, "step_embeddings"), "value": None}


def verdict(folder: Path, text: str) -> str | None:
    """None when a manifest of this text is accepted, else why it is not."""
    raw = text.encode()
    (folder / MANIFEST_NAME).write_bytes(raw)
    (folder / DIGEST_NAME).write_bytes(digest_line(raw))
    try:
        read_manifest(folder)
    except BundleError as error:
        return str(error).replace(str(folder), "")
    return None


def _judged(folder: Path, base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {**change, "refused": verdict(folder, json.dumps(changed(copy.deepcopy(base), change)))}


def changed(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The document itself, with the change made."""
    *parents, last = change["path"]
    node: Any = document
    for part in parents:
        node = node[part]
    if change.get("delete"):
        del node[last]
    else:
        node[last] = change["value"]
    return document


def _changes(base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from changes(base)
    for text in PATHS:
        yield {"path": ("prompt", "tokenizer"), "value": text}
        yield {"path": ("files", text), "value": {"bytes": 1, "sha256": "0" * 64}}
        yield {"path": ("documents",), "value": [text]}


def changes(base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every place of a document with other values, without itself, with an unknown key."""
    for path, value in places(base, ()):
        yield from ({"path": path, "value": other} for other in VALUES if _differs(other, value))
        if isinstance(path[-1], str):
            yield {"path": path, "delete": True}
        if isinstance(value, dict):
            yield {"path": (*path, "unknown"), "value": 1}
        if isinstance(value, int) and not isinstance(value, bool):
            yield {"path": path, "value": value + 1}


def places(value: Any, path: Place) -> Iterator[tuple[Place, Any]]:
    """Every key, and the first element of every list; of alike entries (components, files, ...) the first only."""
    if path:
        yield path, value
    if isinstance(value, dict):
        alike = path in (("components",), ("files",)) or path[-1:] in (("methods",), ("sigmas",))
        for key in list(value)[: 1 if alike else None]:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def _differs(other: Any, value: Any) -> bool:
    return type(other) is not type(value) or other != value
