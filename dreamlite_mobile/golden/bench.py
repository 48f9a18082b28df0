"""What the readers of run requests and results accept and refuse: the golden ones, and each with one place changed."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import dreamlite_mobile.device
from dreamlite_mobile.bundle_files import describe
from dreamlite_mobile.device.schema import RunRequest, RunResult
from dreamlite_mobile.golden.manifests import Place, changed, changes
from dreamlite_mobile.noise import MAX_SEED

SCHEMAS = Path(dreamlite_mobile.device.__file__).parent / "schemas"
GOLDEN: dict[str, type[RunRequest | RunResult]] = {
    "golden-request-generate.json": RunRequest,
    "golden-request-edit.json": RunRequest,
    "golden-result-generate.json": RunResult,
    "golden-result-refused.json": RunResult,
}
_PATHS = ("relative", "/", "/a b", "/a'b", "/ä", "/a\n", "/a/../b", "/" + "a" * 239, "/" + "a" * 240, "/$HOME")
_NAMES = ("", ".a", "-a", "a/b", "a" * 80, "a" * 81, "A", "a_b", "a\n")
_OTHERS: dict[type, dict[Place, tuple[Any, ...]]] = {
    RunRequest: {
        ("seed",): (MAX_SEED, MAX_SEED + 1),
        ("id",): (*_NAMES, "a" * 60, "a" * 61),
        ("bundle",): _PATHS,
        ("out",): _PATHS,
        ("steps",): (50, 51),
        ("warm_up",): (1000, 1001),
        ("runs",): (10_000, 10_001),
        ("threads",): (256, 257),
        ("sustain_s",): (0.5, -0.5),
        ("mode",): ("generate", "edit", "EDIT"),
        ("bundle_sha256",): ("a" * 64, "A" * 64, "a" * 63, "g" * 64),
    },
    RunResult: {
        ("seed",): (MAX_SEED, MAX_SEED + 1),
        ("picture",): tuple({"file": name, "sha256": "0" * 64} for name in _NAMES),
        ("samples", 0, "kind"): ("timed", "warm_up", "second"),
        ("samples", 3, "kind"): ("first", "warm_up"),
        ("samples", 0, "total_ms"): (150.5, 151.5, 100.0),
        ("samples", 0, "begin_ms"): (0.5, 1.5),
        ("samples", 0, "stages"): ({"unet": 100}, {"unet": 100, "loading": 50}, {"unet": 152.0}, {"": 1.0}),
        ("samples", 0, "steps_ms"): ([1.0], [1.0, 1.0, 1.0], [100.0, 52.0]),
        ("samples", 0, "conditions", "thermal_status"): (6, 7),
        ("samples", 0, "conditions", "headroom"): (0.8, -0.1),
        ("samples", 0, "conditions", "battery_percent"): (100, 101),
        ("problem",): ("it broke",),
    },
}


def bench_cases() -> dict[str, Any]:
    """Name of a golden file -> {base, changes}; a change is {path, value} or {path, delete}, with Python's verdict."""
    found = {}
    for name, model in GOLDEN.items():
        base = json.loads((SCHEMAS / name).read_text())
        assert verdict(model, base) is None
        found[name] = {"base": base, "changes": list(_judged(model, base))}
    return found


def verdict(model: type[RunRequest | RunResult], document: Any) -> str | None:
    """None when it is accepted, else why it is not."""
    try:
        model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        return describe(error)
    return None


def _judged(model: type[RunRequest | RunResult], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    others = [
        {"path": path, "value": value}
        for path, values in _OTHERS[model].items()
        for value in values
        if path[0] != "samples" or base["samples"]
    ]
    for change in (*changes(base), *others):
        yield {**change, "refused": verdict(model, changed(copy.deepcopy(base), change))}
